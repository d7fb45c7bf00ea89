"""Reads LabelMe's JSON: one file for each picture, with the shapes that somebody drew."""

from __future__ import annotations

import base64
import binascii
import math
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_mrcnn.base.atomic_files import atomic_write
from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.image_files import IMAGE_SUFFIXES, read_image_format, read_image_size
from keras_mrcnn.data.formats.collector import Collector, Picture
from keras_mrcnn.data.formats.files import check, counted, is_label, is_text, one_line, or_none, read_json
from keras_mrcnn.data.formats.folders import SAMPLE, usual_folders
from keras_mrcnn.data.formats.listing import files_below, json_kind
from keras_mrcnn.data.formats.mask_files import read_numbers
from keras_mrcnn.data.formats.shapes import Part, Shape, ellipse, join_groups, rectangle, run_length_codes
from keras_mrcnn.data.records import is_number, is_side

CROWD_FLAG = "crowd"  # of a shape that is a region of many objects; `writing.labelme` sets it
# Labels of what is no object, as LabelMe's own converters have them.
_NO_OBJECTS = ("__ignore__", "_background_")
_POLYGONS = ("polygon", "oriented_rectangle", "rotation")
_NUM_POINTS = {"rectangle": (2, 4), "circle": (2,), "mask": (2,)}
_NO_AREA = ("point", "points", "line", "linestrip")


def read_labelme(source: Path, images: Path | None, collector: Collector) -> None:
    """Reads a LabelMe file, or all of those below a folder.

    Args:
        source: path of the file or the folder.
        images: folder of the pictures, or None to look for it.
        collector: takes what is read.

    Raises:
        UserError: there is no LabelMe file, or one is malformed; the message names file, shape and field.
    """
    files = _labelme_files(source, collector)
    root = source if source.is_dir() else source.parent
    names = [(*_names(path, root, _read(path)), *_own_names(path, root)) for path in files[:SAMPLE]]
    collector.look_in([images] if images else usual_folders(root), names)
    embedded = [path for path in files if _read_file(path, root, collector)]
    if embedded:
        pictures = counted(len(embedded), "picture is", "pictures are")
        collector.note(
            f"{pictures} nowhere else than in LabelMe files, as in {embedded[0]}; "
            "keras_mrcnn.data.formats.save_embedded_pictures writes image files"
        )


def save_embedded_pictures(source: Path, out: Path) -> list[Path]:
    """Writes the pictures that are embedded in LabelMe files (`imageData`) as image files.

    Args:
        source: path of a LabelMe file, or of a folder with some below it.
        out: folder for the pictures; it is made if it does not exist. Files that exist are left as they are.

    Returns:
        The paths of the files that were written. Each has the name of its LabelMe file.

    Raises:
        UserError: a file is malformed, or what it embeds is no picture.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> gif = "R0lGODlhAQABAIAAAAAAAP///yH5BAAAAAAALAAAAAABAAEAAAIBRAA7"
        >>> _ = (folder / "a.json").write_text('{"shapes": [], "imagePath": "a.gif", "imageData": "%s"}' % gif)
        >>> [path.name for path in save_embedded_pictures(folder, folder)]
        ['a.gif']
    """
    source, out, written = Path(source), Path(out), []
    root = source if source.is_dir() else source.parent
    for path in _labelme_files(source, Collector("labelme", source)):
        content = _read(path)
        if not content.get("imageData"):
            continue
        picture = _embedded(content, path)
        suffix = f".{read_image_format(picture, f'imageData of {path}').lower().replace('jpeg', 'jpg')}"
        target = (out / path.relative_to(root)).with_suffix(suffix)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(target) as temporary:
                temporary.write_bytes(picture)
            written.append(target)
    return written


def _labelme_files(source: Path, collector: Collector) -> list[Path]:
    """Lists the LabelMe files of a source, and counts other JSON files."""
    if not source.is_dir():
        return [source]
    files = files_below(source, (".json",))
    own = [path for path in files if json_kind(path) == "labelme"]
    if not own:
        raise UserError(f"{source} has no JSON files of LabelMe; check the path")
    collector.skip("JSON file that is not LabelMe's", len(files) - len(own))
    return own


def _read(path: Path) -> dict:
    """Reads a LabelMe file and checks its fields, except its shapes."""
    sides = {name: or_none(is_side) for name in ("imageHeight", "imageWidth")}
    options = {"imagePath": or_none(is_text), "imageData": or_none(is_text), **sides}
    return check(read_json(path), str(path), {"shapes": lambda value: isinstance(value, list)}, options)


def _names(path: Path, root: Path, content: dict) -> list[str]:
    """Returns the names that the picture of a LabelMe file has by its field imagePath."""
    name = (content.get("imagePath") or f"{path.stem}.jpg").replace("\\", "/")
    return [posixpath.normpath(posixpath.join(path.relative_to(root).parent.as_posix(), name)), name]


def _own_names(path: Path, root: Path) -> list[str]:
    """Returns the names of the pictures that a LabelMe file may be beside of."""
    return [path.relative_to(root).with_suffix(suffix).as_posix() for suffix in IMAGE_SUFFIXES]


def _read_file(path: Path, root: Path, collector: Collector) -> bool:
    """Reads one file; returns whether its picture is nowhere else than embedded in it."""
    content = _read(path)
    names, others = _names(path, root, content), _own_names(path, root)
    is_embedded = bool(content.get("imageData")) and collector.folder.find([*names, *others]) is None
    size = content.get("imageHeight"), content.get("imageWidth")
    if None in size:
        size = read_image_size(_embedded(content, path), f"imageData of {path}") if is_embedded else None
    picture = collector.picture(names, str(path), size, others)
    if picture is not None:
        shapes = [shape for number, record in enumerate(content["shapes"], start=1)
                  for shape in _shapes(record, f"{path}, shape {number}", picture, collector)]  # fmt: skip
        for shape in join_groups(shapes):
            collector.add(picture, shape)
    return is_embedded


def _embedded(content: dict, path: Path) -> bytes:
    """Returns the bytes of the picture that a file embeds."""
    return _decoded(content["imageData"], f"imageData of {path}")


def _decoded(text: str, where: str) -> bytes:
    """Decodes base64."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserError(f"{where} is not valid base64 ({error}); save the file again in LabelMe") from error


def _shapes(record: Any, where: str, picture: Picture, collector: Collector) -> Iterator[Shape]:
    """Gives the shape of a record, unless it is no object."""
    options = {
        "shape_type": or_none(is_text),
        "group_id": lambda value: value is None or isinstance(value, (int, str)),
        "flags": or_none(lambda value: isinstance(value, dict)),
        "mask": or_none(is_text),
    }
    check(record, where, {"label": is_label, "points": _are_points}, options)
    kind, label = record.get("shape_type") or "polygon", record["label"].strip()
    if label in _NO_OBJECTS:
        collector.skip(f"label {label}")
    elif kind in _NO_AREA:
        collector.skip(kind)
    elif kind in _POLYGONS or kind in _NUM_POINTS:
        is_crowd = (record.get("flags") or {}).get(CROWD_FLAG) is True
        parts, group = _parts(kind, record, where, picture), record.get("group_id")
        yield Shape(label, parts, where, group, is_crowd, is_rectangle=kind == "rectangle")
    else:
        collector.skip(f"shape of the unknown type {one_line(kind)}")


def _parts(kind: str, record: dict, where: str, picture: Picture) -> list[Part]:
    """Returns the polygon or the mask of a shape."""
    points = record["points"]
    if len(points) not in _NUM_POINTS.get(kind, (len(points),)):
        raise UserError(f"{where} is a {kind} of {len(points)} points, not of {_NUM_POINTS[kind][0]}; correct it")
    flat = [value for point in points for value in point]
    if kind == "rectangle" and len(points) == 2:
        return [rectangle(*flat)]
    if kind == "circle":
        radius = math.dist(*points)
        return [ellipse(*points[0], radius, radius)]
    return _mask(record, where, picture) if kind == "mask" else [flat]


def _mask(record: dict, where: str, picture: Picture) -> list[Part]:
    """Returns the mask of a shape: a small picture, whose place is its first point."""
    if not record.get("mask"):
        raise UserError(f"{where} is a mask, but lacks the field 'mask'; correct it, or take it out")
    pixels = read_numbers(_decoded(record["mask"], f"{where}, mask"), f"{where}, mask") != 0
    left, top = (int(math.floor(value)) for value in record["points"][0])
    return list(run_length_codes(pixels, picture.height, picture.width, left, top).values())


def _are_points(value: Any) -> bool:
    """Returns whether a value is a list of pairs of finite numbers."""
    is_list = isinstance(value, list) and all(isinstance(point, list) and len(point) == 2 for point in value)
    return is_list and all(is_number(number) for point in value for number in point)
