"""Lists the files below a folder, and tells kinds of annotation files apart by what is in them.

A COCO file can have a gigabyte, so only the beginning and the end of a file are looked at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from keras_mrcnn.base.errors import UserError

LOOKED_AT = 2**16  # bytes at the beginning, and at the end
_LINES_LOOKED_AT = 10
_DEEPEST = 6  # folders within folders
_KEY = re.compile(r'"(\w+)"\s*:')
_LABELME, _COCO = {"imagePath", "imageData", "imageHeight"}, {"images", "annotations", "categories"}
_COCO_RECORDS = ({"image_id", "category_id"}, {"file_name", "height"})  # of lists that begin and end out of sight
_VIA = {"region_attributes", "shape_attributes", "file_attributes", "regions", "_via_img_metadata"}
_VIA_COLUMNS = ("region_shape_attributes", "region_attributes")
_LABELME_TAGS, _CVAT_TAGS = ("imagesize", "polygon", "segm"), ("image", "track", "meta")
_OPENING_TAG = re.compile(r"<([A-Za-z_]\w*)")


def files_below(folder: Path, suffixes: Sequence[str], deepest: int = _DEEPEST) -> list[Path]:
    """Lists the files below a folder, sorted by path, without hidden ones.

    Args:
        folder: path of the folder. Links to folders are followed, each folder once.
        suffixes: lower-case suffixes of the files to list.
        deepest: how many folders within folders to look at.
    """
    return sorted(path for path in _walk(Path(folder), deepest) if path.suffix.lower() in suffixes)


def has_files_below(folder: Path, suffixes: Sequence[str], deepest: int = _DEEPEST) -> bool:
    """Returns whether `files_below` lists any file; stops at the first."""
    return any(path.suffix.lower() in suffixes for path in _walk(Path(folder), deepest))


def _walk(folder: Path, deepest: int) -> Iterator[Path]:
    """Gives the files below a folder."""
    seen: set[str] = set()
    for path, folders, files in os.walk(folder, followlinks=True):
        depth = len(Path(path).relative_to(folder).parts)
        real = os.path.realpath(path)
        if real in seen or depth >= deepest:
            folders.clear()
        if real in seen:
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        yield from (Path(path, name) for name in files if not _is_hidden(name))


def subfolders(folder: Path) -> list[Path]:
    """Lists the folders directly below a folder, sorted by name, without hidden ones."""
    return [path for path in entries(folder) if path.is_dir()]


def entries(folder: Path) -> list[Path]:
    """Lists what is directly in a folder, sorted by name, without hidden files; nothing if there is no such folder."""
    if not folder.is_dir():
        return []
    try:
        return sorted(path for path in folder.iterdir() if not _is_hidden(path.name))
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}); check the path and its permissions") from error


def _is_hidden(name: str) -> bool:
    """Returns whether a file or folder is none of the user's, such as those in archives made on a Mac."""
    return name.startswith(".") or name == "__MACOSX"


def json_kind(path: Path) -> str | None:
    """Tells by its keys what format a JSON file has: "coco", "labelme", "via", or None for anything else."""
    keys = set(_KEY.findall(_both_ends(path)))
    if "shapes" in keys and keys & _LABELME:
        return "labelme"
    if len(keys & _VIA) >= 2 and not keys >= {"images", "annotations"}:
        return "via"
    if len(keys & _COCO) >= 2 or (keys & _COCO and any(keys >= record for record in _COCO_RECORDS)):
        return "coco"
    return None


def xml_kind(path: Path) -> str | None:
    """Tells by its tags what an XML file holds: "cvat", "labelme-xml", "voc boxes", or None for anything else."""
    tags = _OPENING_TAG.findall(_both_ends(path))
    if tags[:1] == ["annotations"] and set(tags) & set(_CVAT_TAGS):
        return "cvat"
    if tags[:1] == ["annotation"] and set(tags) & set(_LABELME_TAGS):
        return "labelme-xml"
    if tags[:1] == ["annotation"] and "size" in tags:
        return "voc boxes"
    return None


def begins_with(path: Path) -> str:
    """Returns the first characters of a file that are not blanks."""
    return _both_ends(path)[:64].lstrip()


def is_via_csv(path: Path) -> bool:
    """Returns whether a CSV file has the columns of VIA."""
    columns = _both_ends(path).partition("\n")[0]
    return all(name in columns for name in _VIA_COLUMNS)


def has_yolo_lines(path: Path) -> bool:
    """Returns whether a text file has lines as YOLO's labels: the number of a class, and at least four numbers."""
    lines = [line.split() for line in _both_ends(path).splitlines() if line.strip()][:_LINES_LOOKED_AT]
    return bool(lines) and all(
        len(line) > 4 and line[0].isdecimal() and all(map(_is_number, line[1:])) for line in lines
    )


def _is_number(text: str) -> bool:
    try:
        return float(text) == float(text)
    except ValueError:
        return False


def _both_ends(path: Path) -> str:
    """Returns the beginning and the end of a file as text; what is not UTF-8 is replaced."""
    try:
        with open(path, "rb") as file:
            content = file.read(LOOKED_AT)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - LOOKED_AT, len(content)))
            content += file.read()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from error
    return content.decode("utf-8-sig", errors="replace")
