"""Tells the format of a source from what is in its files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.formats.cityscapes import ENDING
from keras_mrcnn.data.formats.listing import begins_with, files_below, has_yolo_lines, is_via_csv, json_kind, xml_kind
from keras_mrcnn.data.formats.masks import mask_folders
from keras_mrcnn.data.formats.names import FORMATS
from keras_mrcnn.data.formats.voc import find_voc
from keras_mrcnn.data.formats.yolo_data import is_dataset_yaml, with_labels

_LOOKED_AT = 20  # files of one suffix
_DEPTHS = (0, 1, 2, 6)  # of folders to look in before those below them
_SAY = "say which with --format"


def detect_format(source: Path) -> str:
    """Tells the format of annotations from what is in the files.

    Args:
        source: path of a file or a folder.

    Returns:
        One of `FORMATS`.

    Raises:
        UserError: the source does not exist, has no format that is known, or several.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.json").write_text('{"images": [], "annotations": [], "categories": []}')
        >>> detect_format(folder)
        'coco'
    """
    source = Path(source)
    if not os.path.exists(source):
        raise UserError(f"{source} does not exist; check the path")
    formats = formats_of_folder(source) if source.is_dir() else _formats_of_file(source)
    if len(formats) == 1:
        return formats[0]
    if formats:
        raise UserError(f"{source} has annotations in several formats ({', '.join(formats)}); {_SAY}")
    _refuse(source)
    raise UserError(f"{source} has no annotations in a format that is known ({', '.join(FORMATS)}); {_SAY}")


def _formats_of_file(path: Path) -> list[str]:
    """Lists the formats of a file."""
    beginning = begins_with(path)
    if beginning.startswith("{"):
        kind = json_kind(path)
    elif beginning.startswith("<"):
        kind = xml_kind(path)
    elif is_via_csv(path):
        kind = "via"
    elif path.suffix.lower() in (".yaml", ".yml"):
        kind = _yaml_kind(path)
    else:
        kind = _kind_of_list(path) if path.suffix.lower() == ".txt" else None
    return [kind] if kind in FORMATS else []


def _kind_of_list(path: Path) -> str | None:
    """Tells the format of a text file that lists pictures."""
    if path.parent.name == "Segmentation" and find_voc(path.parent.parent.parent):
        return "voc"
    return "yolo" if "yolo" in formats_of_folder(path.parent) else None


def formats_of_folder(folder: Path) -> list[str]:
    """Lists the formats of the files in a folder, or if it has none of the files in the folders below it."""
    if find_voc(folder):
        return ["voc"]
    for deepest in _DEPTHS:
        kinds = _kinds(folder, deepest)
        if kinds & set(FORMATS):
            return sorted(kinds & set(FORMATS), key=FORMATS.index)
    if any(has_yolo_lines(path) for path in _some(files_below(with_labels(folder), (".txt",), deepest=1))):
        return ["yolo"]
    return ["masks"] if mask_folders(folder) else []


def _kinds(folder: Path, deepest: int) -> set[str | None]:
    """Lists the kinds of the files in a folder, and in the folders below it down to a depth."""
    files = files_below(folder, (*_KIND_OF, ".png"), deepest)
    kinds = {"cityscapes"} if any(path.name.endswith(ENDING) for path in files) else set()
    for suffix, kind_of in _KIND_OF.items():
        kinds |= {kind_of(path) for path in _some([path for path in files if path.suffix.lower() == suffix])}
    return kinds


def _some(files: list[Path]) -> list[Path]:
    """Returns about 20 of the files."""
    return files[:: max(len(files) // _LOOKED_AT, 1)]


def _yaml_kind(path: Path) -> str | None:
    return "yolo" if is_dataset_yaml(path) else None


# The function that tells the format of a file, or None, for each suffix.
_KIND_OF: dict[str, Callable[[Path], str | None]] = {
    ".json": json_kind,
    ".xml": xml_kind,
    ".csv": lambda path: "via" if is_via_csv(path) else None,
    ".yaml": _yaml_kind,
    ".yml": _yaml_kind,
    ".txt": lambda path: "yolo" if has_yolo_lines(path) else None,
}


def _refuse(source: Path) -> None:
    """Raises UserError for what cannot be read, but is known."""
    if source.is_file() and begins_with(source).startswith("PK\x03\x04"):
        raise UserError(f"{source} is a zip archive; unpack it and name the folder")
    files = _some(files_below(source, (".xml",))) if source.is_dir() else [source]
    if any(xml_kind(path) == "voc boxes" for path in files):
        raise UserError(f"{source} has boxes of Pascal VOC, which say no masks; export masks or polygons")
