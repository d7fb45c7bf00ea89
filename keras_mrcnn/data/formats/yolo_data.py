"""Finds out how a YOLO data set is laid out: the names of its classes, and the pictures of each split."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.image_files import IMAGE_SUFFIXES
from keras_mrcnn.data.formats.files import is_label, one_line, read_text, read_yaml
from keras_mrcnn.data.formats.folders import last_parts
from keras_mrcnn.data.formats.listing import files_below, subfolders
from keras_mrcnn.data.formats.names import split_name
from keras_mrcnn.data.records import shortened

_YAML = (".yaml", ".yml")
_NAME_FILES = ("classes.txt", "obj.names", "labels/classes.txt")
_NO_SPLITS = ("path", "download")  # keys of the yaml whose text is no place of pictures


class YoloData(NamedTuple):
    """A YOLO data set.

    Attributes:
        root: its folder.
        names: names of the classes by number; empty if no file has them.
        splits: for each split the folders of its pictures, or text files that list them.
        notes: sentences that the user should see.
    """

    root: Path
    names: dict[int, str]
    splits: dict[str, list[Path]]
    notes: tuple[str, ...] = ()


def is_dataset_yaml(path: Path) -> bool:
    """Returns whether a YAML file describes a YOLO data set."""
    try:
        content = read_yaml(path)
    except UserError:
        return False
    if not isinstance(content, dict) or not isinstance(content.get("names"), (list, dict)):
        return False
    return "nc" in content or any(_is_split(str(key), value) for key, value in content.items())


def _is_split(name: str, value: Any) -> bool:
    """Returns whether a field of a yaml file says where the pictures of a split are."""
    return bool(split_name(name)) or (name not in _NO_SPLITS and isinstance(value, str) and "/" in value)


def yolo_data(source: Path) -> YoloData:
    """Finds out how a YOLO data set is laid out.

    Args:
        source: path of its yaml file, of a folder with one, of a folder with images and labels, or of the pictures of
            a split: a folder or a text file that lists them.

    Raises:
        UserError: there are several yaml files, or one is malformed.
    """
    if source.suffix.lower() in _YAML and not source.is_dir():
        return _described(source)
    here = _yaml_in(source) if source.is_dir() else None
    if here:
        return _described(here)
    above = _data_above(source)
    if above:
        return above
    root = source if source.is_dir() else source.parent
    return YoloData(root, _names_from_files(root), _splits_of_folder(source))


def _yaml_in(folder: Path) -> Path | None:
    """Returns the file in a folder that describes a YOLO data set, or None."""
    files = [path for path in files_below(folder, _YAML, deepest=0) if is_dataset_yaml(path)]
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise UserError(f"{folder} has several descriptions of a data set ({names}); name the one to read")
    return files[0] if files else None


def _data_above(source: Path) -> YoloData | None:
    """Returns the data set, described in a folder above, that has the source as the only place of a split, or None."""
    for folder in source.resolve().parents[:3]:
        for path in files_below(folder, _YAML, deepest=0):
            with contextlib.suppress(UserError):  # it may be of another data set
                data = _described(path)
                if [source.resolve()] in [[place.resolve() for place in places] for places in data.splits.values()]:
                    return data._replace(splits={"": [source]}, notes=())
    return None


def _described(path: Path) -> YoloData:
    """Reads a yaml file."""
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} is no description of a YOLO data set; it must have the fields names and train or val")
    splits, notes = {}, []
    for key, value in content.items():
        name = str(key)
        entries = _entries(value, name, path) if _is_split(name, value) and value is not None else []
        places = [_place(path, content.get("path"), entry) for entry in entries]
        missing = [entry for entry, place in zip(entries, places) if place is None]
        if missing and split_name(name):
            notes.append(f"{path} names {one_line(missing[0])} for {one_line(name)}, which does not exist")
        if len(missing) < len(places):
            splits[split_name(name) or name] = [place for place in places if place]
    return YoloData(path.parent, _checked_names(content.get("names"), path), splits, tuple(notes))


def _entries(value: Any, name: str, path: Path) -> list[str]:
    """Returns the places that a yaml file gives for a split."""
    entries = value if isinstance(value, list) else [value]
    if not all(isinstance(entry, str) and entry for entry in entries):
        raise UserError(f"{path} has the bad value {one_line(shortened(value))} in '{one_line(name)}'; name a folder")
    return entries


def _place(path: Path, base: Any, entry: str) -> Path | None:
    """Returns the folder or the list that an entry of a yaml file means; what lies in its folder comes first."""
    root, base = path.parent, base if isinstance(base, str) else ""
    inside = [root / last_parts(base) / last_parts(entry), root / last_parts(entry)]
    outside = [root / base / entry, root / entry]
    for place in (*inside, *outside):  # os.path, unlike Path, has no error for a name that no file can have
        if os.path.isdir(place) or (place.suffix == ".txt" and os.path.isfile(place)):
            return place
    return None


def _checked_names(names: Any, path: Path) -> dict[int, str]:
    """Returns the names of the classes by number."""
    items = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(items, dict) or not items:
        raise UserError(f"{path} has no list of names in the field 'names'; add the names of the classes")
    checked: dict[int, str] = {}
    for key, name in items.items():
        text = str(name) if isinstance(name, (int, float)) and not isinstance(name, bool) else name
        if not str(key).isdecimal() or not is_label(text):
            what = f"{one_line(shortened(key))}: {one_line(shortened(name))}"
            raise UserError(f"{path} has the class {what} in 'names', not a number and a name; put names into quotes")
        if text.strip() in checked.values():
            raise UserError(f"{path} has two classes called {one_line(text)}; rename one")
        checked[int(key)] = text.strip()
    return checked


def _names_from_files(root: Path) -> dict[int, str]:
    """Returns the names of the classes from a text file with one on each line."""
    for name in _NAME_FILES:
        for folder in (root, root.parent):
            if (folder / name).is_file():
                lines = [line.strip() for line in read_text(folder / name).splitlines()]
                return _checked_names([line for line in lines if line], folder / name)
    return {}


def _splits_of_folder(source: Path) -> dict[str, list[Path]]:
    """Returns the places of the pictures of a data set without a yaml file."""
    pictures = source / "images" if (source / "images").is_dir() else source
    splits = {split_name(path.name): [path] for path in subfolders(pictures) if split_name(path.name)}
    return splits if splits and pictures != source else {"": [pictures]}


def listed_pictures(places: Sequence[Path]) -> tuple[Path, list[str]]:
    """Lists the pictures of a split.

    Args:
        places: folders of pictures, and text files that list some.

    Returns:
        The folder of the pictures, and their names below it.
    """
    folders = [place if place.is_dir() else place.parent for place in places]
    root = folders[0] if len(folders) == 1 else Path(os.path.commonpath([folder.resolve() for folder in folders]))
    names: list[str] = []
    for place, folder in zip(places, folders):
        below = folder if len(folders) == 1 else folder.resolve()
        if place.is_dir():
            names += [path.relative_to(root).as_posix() for path in files_below(below, IMAGE_SUFFIXES)]
        else:
            lines = [line.strip() for line in read_text(place).splitlines()]
            names += [(below.relative_to(root) / line).as_posix() for line in lines if line]
    return root, names


def with_labels(path: Path) -> Path:
    """Returns a path with "labels" instead of the last "images" in it."""
    parts = list(path.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts)
