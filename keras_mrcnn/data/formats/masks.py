"""Reads instance masks as image files: one for each picture with a number for each object, or one for each object.

    images/a.jpg   masks/a.png          (or masks/a_mask.png) pixel value = number of the object, 0 = background
    images/a.jpg   masks/a/*.png        each file is an object: what is not 0
    a/images/a.png a/masks/*.png        the same, in a folder for each picture

Colours may stand for numbers. classes.json, beside the folders or with the masks, names the classes: either one name
for all objects, or an object with the stems of the pictures as keys and, as values, a name for all objects of the
picture or an object with the numbers of the objects (or the stems of their files) as keys and names as values.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.image_files import IMAGE_SUFFIXES
from keras_mrcnn.data.formats.collector import Collector
from keras_mrcnn.data.formats.files import counted, is_label, one_line, read_json
from keras_mrcnn.data.formats.listing import files_below, has_files_below, subfolders
from keras_mrcnn.data.formats.mask_files import MASK_SUFFIXES, check_same_size, read_numbers
from keras_mrcnn.data.formats.names import split_name
from keras_mrcnn.data.formats.shapes import Shape, run_length_codes

CLASSES_FILE = "classes.json"
_ONLY_CLASS = "object"
_MASK_WORDS, _PICTURE_WORDS = ("mask", "instance"), ("image", "picture", "photo", "img")
_SEPARATORS = "_-."  # one of them is between the stem of a picture and what its mask adds to it
_MOST_OBJECTS = 10_000  # in a picture; a file with more numbers is no mask
_WHITE = 255


def mask_folders(source: Path, images: Path | None = None) -> list[tuple[Path, Path]]:
    """Finds the folders of masks and of their pictures.

    Args:
        source: path of the data set.
        images: folder of the pictures, if it is known.

    Returns:
        Pairs (folder of masks, folder of pictures): one, or one for each picture; empty if there are none.
    """
    if images:
        return [((_named(source, _MASK_WORDS, MASK_SUFFIXES) or [source])[0], images)]
    pair = _pair(source) or _split_pair(source)
    return [pair] if pair else [pair for folder in subfolders(source) if (pair := _pair(folder))]


def read_masks(source: Path, images: Path | None, collector: Collector) -> None:
    """Reads a folder of instance masks.

    Args:
        source: path of the folder that holds the masks and the pictures.
        images: folder of the pictures, or None to look for it.
        collector: takes what is read.

    Raises:
        UserError: there are no masks, or one is damaged or of another size than the others of its picture.
    """
    pairs = mask_folders(source, images)
    if not pairs:
        raise UserError(f"{source} has no folder of masks (such as masks) beside one of pictures (such as images)")
    root = source if len(pairs) > 1 else pairs[0][1]
    collector.look_in([root], [])
    # Of masks/train and images/train, that is the folder of masks and images.
    beside = Path(os.path.commonpath([os.path.abspath(folder) for folder in pairs[0]]))
    classes = _Classes([source, beside, *(masks for masks, _ in pairs)])
    num_white = 0
    for masks, pictures in pairs:
        for picture, files in _masks_of_pictures(masks, pictures, collector).items():
            num_white += _read_picture(picture.relative_to(root).as_posix(), files, classes, collector)
    if num_white:
        have = counted(num_white, "mask has", "masks have")
        collector.note(f"{have} no values but 0 and 255, so all that is white in a mask is one object")


def _pair(folder: Path) -> tuple[Path, Path] | None:
    """Returns the folder of masks and that of pictures in a folder, or None if there are none."""
    masks = _named(folder, _MASK_WORDS, MASK_SUFFIXES)
    if len(masks) != 1:
        return None
    others = [path for path in subfolders(folder) if path != masks[0] and has_files_below(path, IMAGE_SUFFIXES)]
    pictures = [path for path in others if _has_word(path, _PICTURE_WORDS)] or others
    return (masks[0], pictures[0]) if len(pictures) == 1 else None


def _split_pair(source: Path) -> tuple[Path, Path] | None:
    """Returns masks/SPLIT and images/SPLIT for the former, or None."""
    masks = source.resolve().parent
    if not _has_word(masks, _MASK_WORDS) or not has_files_below(source, MASK_SUFFIXES):
        return None
    beside = [path / source.name for path in subfolders(masks.parent) if path != masks]
    folders = [path for path in beside if path.is_dir()]
    pictures = [path for path in folders if _has_word(path.parent, _PICTURE_WORDS)] or folders
    return (source, pictures[0]) if len(pictures) == 1 else None


def mask_splits(source: Path) -> dict[str, Path]:
    """Returns the folders masks/SPLIT for which there is a folder images/SPLIT, by the name of the split."""
    pair = _pair(source)
    folders = subfolders(pair[0]) if pair else []
    return {split_name(path.name): path for path in folders if split_name(path.name) and _split_pair(path)}


def _named(folder: Path, words: tuple[str, ...], suffixes: tuple[str, ...]) -> list[Path]:
    """Lists the folders in a folder whose names have one of the words in them, and that hold files of the suffixes."""
    return [path for path in subfolders(folder) if _has_word(path, words) and has_files_below(path, suffixes)]


def _has_word(folder: Path, words: tuple[str, ...]) -> bool:
    """Returns whether the name of a folder has one of the words in it."""
    return any(word in folder.name.lower() for word in words)


def _masks_of_pictures(masks: Path, pictures: Path, collector: Collector) -> dict[Path, list[tuple[Path, bool]]]:
    """Returns the masks of each picture, each with whether it is one object; counts pictures without any."""
    inside = [path for path in files_below(pictures, IMAGE_SUFFIXES) if masks not in path.parents]
    by_stem = {_stem(path, pictures): path for path in inside}
    found: dict[Path, list[tuple[Path, bool]]] = {}
    for path in files_below(masks, MASK_SUFFIXES):
        stem, is_object = _picture_stem(path, masks, by_stem)
        found.setdefault(by_stem.get(stem, pictures / path.relative_to(masks)), []).append((path, is_object))
    collector.skip("picture without a mask", sum(path not in found for path in by_stem.values()))
    return found


def _stem(path: Path, folder: Path) -> str:
    """Returns the path of a file relative to a folder, without its suffix."""
    return path.relative_to(folder).with_suffix("").as_posix()


def _picture_stem(path: Path, masks: Path, by_stem: dict[str, Path]) -> tuple[str | None, bool]:
    """Returns the stem of the picture of a mask, or None if there is no such picture, and whether it is one object."""
    stem, parent = _stem(path, masks), path.parent.relative_to(masks).as_posix()
    for end in range(len(stem), 0, -1):  # the longest stem of a picture that the name begins with
        if stem[:end] in by_stem and stem[end : end + 1] in ("", *_SEPARATORS):
            return stem[:end], False
    if parent in by_stem:
        return parent, True
    return (next(iter(by_stem)), True) if len(by_stem) == 1 else (None, False)


def _read_picture(name: str, files: list[tuple[Path, bool]], classes: _Classes, collector: Collector) -> int:
    """Reads the masks of a picture; returns how many of them are black and white instead of numbered."""
    size, shapes, num_white = None, [], 0
    for path, is_object in files:
        values = read_numbers(path)
        size = size or values.shape
        check_same_size(values, path, size)
        shapes += _shapes(values, path, is_object, Path(name).stem, classes)
        num_white += not is_object and set(np.unique(values)) == {0, _WHITE}
    picture = collector.picture([name], str(files[0][0]), size)
    for shape in shapes if picture else ():
        collector.add(picture, shape)
    return num_white


def _shapes(values: np.ndarray, path: Path, is_object: bool, stem: str, classes: _Classes) -> Iterator[Shape]:
    """Gives the objects of a mask."""
    codes = run_length_codes(values != 0 if is_object else values, *values.shape)
    if len(codes) > _MOST_OBJECTS:
        raise UserError(f"mask file {path} has more than {_MOST_OBJECTS} values, so it is no mask; take it out")
    for number, code in codes.items():
        label = classes.name(stem, path.stem if is_object else str(number), path)
        yield Shape(label, [code], f"{path}, object {number}")


class _Classes:
    """The classes of objects, from classes.json in one of the folders; without it all are of one class."""

    def __init__(self, folders: list[Path]) -> None:
        files = [folder / CLASSES_FILE for folder in folders if (folder / CLASSES_FILE).is_file()]
        self.path = files[0] if files else None
        self.content: Any = read_json(self.path) if self.path else _ONLY_CLASS

    def name(self, stem: str, key: str, mask: Path) -> str:
        """Returns the class of an object of the picture with a stem."""
        value = self.content
        for part in (stem, key):
            if isinstance(value, dict):
                value = value.get(part)
        if not is_label(value):
            raise UserError(
                f"{self.path} has no name for the object {one_line(key)} of the picture {one_line(stem)} (in {mask}); "
                "add it"
            )
        return value
