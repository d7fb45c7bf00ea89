"""Finds the splits of a data set."""

from __future__ import annotations

import os
from pathlib import Path

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.formats.cityscapes import instance_files
from keras_mrcnn.data.formats.detection import detect_format, formats_of_folder
from keras_mrcnn.data.formats.listing import files_below, json_kind, subfolders
from keras_mrcnn.data.formats.masks import mask_splits
from keras_mrcnn.data.formats.names import FORMATS, split_name
from keras_mrcnn.data.formats.voc import find_voc, voc_splits
from keras_mrcnn.data.formats.yolo_data import listed_pictures, yolo_data

_COCO_PREFIX = "instances_"
_ORDER = ("train", "val", "test")


def find_splits(source: Path, format: str | None = None) -> dict[str, Path]:
    """Finds the splits of a data set, such as train and val.

    Args:
        source: path of a file or a folder.
        format: one of `FORMATS`, or None to tell it from the files.

    Returns:
        For each split where its annotations are, the file or the folder; for YOLO where its pictures are. A split that
        programs call valid or validation is "val". {"": source} if the source has no splits.
        `read_annotations(source, split=...)` reads one of them.

    Raises:
        UserError: the source does not exist, or its format is not known.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp(), "annotations")
        >>> folder.mkdir()
        >>> for name in ("instances_train.json", "instances_val.json"):
        ...     _ = (folder / name).write_text('{"images": [], "annotations": [], "categories": []}')
        >>> list(find_splits(folder.parent))
        ['train', 'val']
    """
    source = Path(source)
    splits = _unsorted_splits(source, checked_format(source, format))
    return dict(sorted(splits.items(), key=lambda item: _ORDER.index(item[0]) if item[0] in _ORDER else len(_ORDER)))


def _unsorted_splits(source: Path, format: str) -> dict[str, Path]:
    """Returns the splits of a data set of a format."""
    if format == "yolo":
        return _yolo_splits(source)
    if not source.is_dir():
        return {"": source}
    if format == "coco":
        return _coco_splits(source)
    if format == "voc":
        voc = find_voc(source)
        return (voc_splits(voc.root) if voc else {}) or {"": source}
    if format == "cityscapes":
        return _cityscapes_splits(source)
    return _folders_of_splits(source, format) or {"": source}


def checked_format(source: Path, format: str | None) -> str:
    """Returns the name of a format, or that of the source's if it is None.

    Raises:
        UserError: there is no such format, or the source does not exist or has none that is known.
    """
    if format is None:
        return detect_format(source)
    if format not in FORMATS:
        raise UserError(f"there is no format {format}; choose one of {', '.join(FORMATS)}")
    if not os.path.exists(source):
        raise UserError(f"{source} does not exist; check the path")
    return format


def coco_files(source: Path) -> dict[str, Path]:
    """Returns the COCO files of a folder by the name of their split: those in it and in annotations/.

    Files for train, val and test, such as train.json or instances_val2017.json, leave out those with other names.
    """
    files = [path for folder in (source / "annotations", source) for path in files_below(folder, (".json",), deepest=0)]
    stems = {path: path.stem.removeprefix(_COCO_PREFIX) for path in files if json_kind(path) == "coco"}
    splits: dict[str, Path] = {}
    for path, stem in stems.items():
        name = split_name(stem)
        if name:
            splits[stem if name in splits else name] = path
    return splits or {stem: path for path, stem in stems.items()}


def _coco_splits(source: Path) -> dict[str, Path]:
    """Returns the COCO files of a folder, or those in its folders train, valid and test."""
    files = coco_files(source)
    if files:
        return {"": source} if len(files) == 1 and not split_name(next(iter(files))) else files
    inside = {folder: list(coco_files(folder).values()) for folder in subfolders(source)}
    splits = {split_name(path.name) or path.name: files[0] for path, files in inside.items() if len(files) == 1}
    return splits or {"": source}


def _yolo_splits(source: Path) -> dict[str, Path]:
    """Returns the places of the pictures of a YOLO data set; where a split has several, their common folder."""
    splits = yolo_data(source).splits
    if not splits or set(splits) == {""}:
        return {"": source}
    return {name: places[0] if len(places) == 1 else listed_pictures(places)[0] for name, places in splits.items()}


def _cityscapes_splits(source: Path) -> dict[str, Path]:
    """Returns the folders train, val and test of Cityscapes, in the source or in gtFine or gtCoarse."""
    for folder in (source, *subfolders(source)):
        inside = {split_name(path.name): path for path in subfolders(folder) if split_name(path.name)}
        splits = {name: path for name, path in inside.items() if instance_files(path)}
        if splits:
            return splits
    return {"": source}


def _folders_of_splits(source: Path, format: str) -> dict[str, Path]:
    """Returns the folders train, val and test that hold annotations of a format."""
    if format == "masks" and mask_splits(source):
        return mask_splits(source)
    inside = {split_name(path.name): path for path in subfolders(source) if split_name(path.name)}
    return {name: path for name, path in inside.items() if format in formats_of_folder(path)}
