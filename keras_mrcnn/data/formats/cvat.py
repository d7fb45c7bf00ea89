"""Reads CVAT's own XML, "CVAT for images 1.1": one file for all pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.formats.collector import Collector, Picture
from keras_mrcnn.data.formats.files import is_label, number, one_line, read_xml, whole_number
from keras_mrcnn.data.formats.folders import usual_folders
from keras_mrcnn.data.formats.listing import files_below, xml_kind
from keras_mrcnn.data.formats.shapes import Part, Shape, ellipse, join_groups, rectangle, run_length_codes

_NO_AREA = ("polyline", "points", "skeleton", "cuboid", "tag")


def read_cvat(source: Path, images: Path | None, collector: Collector) -> None:
    """Reads the XML file of CVAT, or the one below a folder.

    Args:
        source: path of the file or the folder.
        images: folder of the pictures, or None to look for it.
        collector: takes what is read.

    Raises:
        UserError: there is not exactly one such file, or it is malformed; the message names picture, shape and field.
    """
    path = _only_file(source) if source.is_dir() else source
    root = read_xml(path)
    pictures = root.findall("image")
    if root.tag != "annotations" or (not pictures and root.find("track") is None):
        raise UserError(f"{path} has no pictures in CVAT's format for images; check the path")
    if not pictures:
        raise UserError(f"{path} has the tracks of a video; export it from CVAT in the format 'CVAT for images 1.1'")
    collector.skip("track of a video", len(root.findall("track")))
    collector.declare({name: place for place, name in enumerate(_labels(root), start=1)})
    names = [_names(record, f"{path}, picture {place}") for place, record in enumerate(pictures, start=1)]
    collector.look_in([images] if images else usual_folders(path.parent), names)
    for names_of_one, record in zip(names, pictures):
        _read_picture(names_of_one, record, path, collector)


def _only_file(folder: Path) -> Path:
    """Returns the one CVAT file below a folder."""
    files = [path for path in files_below(folder, (".xml",)) if xml_kind(path) == "cvat"]
    if len(files) != 1:
        raise UserError(f"{folder} has {len(files) or 'no'} XML files of CVAT; name the one to read")
    return files[0]


def _labels(root: Element) -> list[str]:
    """Returns the names of the labels of the task, in its order."""
    names = [(label.findtext("name") or "").strip() for label in root.findall("meta//labels/label")]
    return list(dict.fromkeys(name for name in names if name))


def _names(record: Element, where: str) -> list[str]:
    """Returns the file names that a picture may have; a project puts those of each subset into a folder."""
    name, subset = record.get("name", "").strip(), record.get("subset")
    if not name:
        raise UserError(f"{where} lacks the attribute 'name'; export it again")
    return [f"{subset}/{name}", name] if subset else [name]


def _read_picture(names: list[str], record: Element, path: Path, collector: Collector) -> None:
    """Reads a picture and its objects."""
    where = f"{path}, {one_line(names[-1])}"
    sides = [record.get(side) for side in ("height", "width")]
    size = None if None in sides else tuple(whole_number(side, f"{where}, size") for side in sides)
    picture = collector.picture(names, where, size)
    if picture is None:
        return
    shapes = []
    for place, element in enumerate(record, start=1):
        if element.tag in _PARTS:
            shapes.append(_shape(element, f"{where}, {element.tag} {place}", picture))
        elif element.tag in _NO_AREA:
            collector.skip(element.tag)
        else:
            collector.skip(f"shape of the unknown type {one_line(element.tag)}")
    for shape in join_groups(shapes):
        collector.add(picture, shape)


def _shape(element: Element, where: str, picture: Picture) -> Shape:
    """Returns the shape of an element."""
    label = element.get("label", "").strip()
    if not is_label(label):
        raise UserError(f"{where} lacks the attribute 'label'; export it again")
    group = element.get("group_id", "0")
    parts = _PARTS[element.tag](element, where, picture)
    return Shape(label, parts, where, None if group == "0" else group, is_rectangle=element.tag == "box")


def _numbers(element: Element, where: str, *names: str) -> list[float]:
    """Returns attributes of an element as numbers."""
    return [number(element.get(name), f"{where}, {name}") for name in names]


def _angle(element: Element, where: str) -> float:
    """Returns how far a shape is turned, radians clockwise."""
    return math.radians(number(element.get("rotation", "0"), f"{where}, rotation"))


def _polygon(element: Element, where: str, picture: Picture) -> list[Part]:
    pairs = [pair.split(",") for pair in element.get("points", "").split(";") if pair]
    if any(len(pair) != 2 for pair in pairs):
        raise UserError(f"{where}, points, is not a list of pairs x,y with a ; between them; export it again")
    return [[number(value, f"{where}, points") for pair in pairs for value in pair]]


def _box(element: Element, where: str, picture: Picture) -> list[Part]:
    return [rectangle(*_numbers(element, where, "xtl", "ytl", "xbr", "ybr"), _angle(element, where))]


def _ellipse(element: Element, where: str, picture: Picture) -> list[Part]:
    return [ellipse(*_numbers(element, where, "cx", "cy", "rx", "ry"), _angle(element, where))]


def _mask(element: Element, where: str, picture: Picture) -> list[Part]:
    """Decodes a mask: lengths of runs of 0 and of 1 in turn, row by row within its box."""
    names = ("left", "top", "width", "height")
    left, top, width, height = (whole_number(element.get(name), f"{where}, {name}") for name in names)
    runs = [whole_number(run, f"{where}, rle") for run in element.get("rle", "").split(",")]
    reaches = 0 <= left < left + width <= picture.width and 0 <= top < top + height <= picture.height
    if not reaches or min(runs) < 0 or sum(runs) > width * height:
        raise UserError(f"{where} does not fit: its box must lie in the picture, and its rle in the box; draw it again")
    bits = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    pixels = np.zeros(width * height, bool)  # what the runs do not reach is none of the object
    pixels[: len(bits)] = bits
    code = run_length_codes(pixels.reshape(height, width), picture.height, picture.width, left, top)
    return list(code.values())


_PARTS: dict[str, Callable[[Element, str, Picture], list[Part]]] = {
    "polygon": _polygon,
    "box": _box,
    "ellipse": _ellipse,
    "mask": _mask,
}
