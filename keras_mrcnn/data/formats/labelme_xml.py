"""Reads the XML of the first LabelMe, which CVAT exports too: one file for each picture, masks as image files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.image_files import IMAGE_SUFFIXES
from keras_mrcnn.data.formats.collector import Collector, Picture
from keras_mrcnn.data.formats.files import is_label, number, one_line, read_xml, whole_number
from keras_mrcnn.data.formats.folders import SAMPLE, last_parts, usual_folders
from keras_mrcnn.data.formats.listing import files_below, xml_kind
from keras_mrcnn.data.formats.mask_files import check_same_size, read_numbers
from keras_mrcnn.data.formats.shapes import Part, Shape, join_groups, run_length_codes


def read_labelme_xml(source: Path, images: Path | None, collector: Collector) -> None:
    """Reads an XML file of LabelMe, or all of those below a folder.

    Args:
        source: path of the file or the folder.
        images: folder of the pictures, or None to look for it.
        collector: takes what is read.

    Raises:
        UserError: there is no such file, or one is malformed; the message names file, object and field.
    """
    files = files_below(source, (".xml",)) if source.is_dir() else [source]
    own = [path for path in files if path == source or xml_kind(path) == "labelme-xml"]
    if not own:
        raise UserError(f"{source} has no XML files of LabelMe; check the path")
    collector.skip("XML file that is not LabelMe's", len(files) - len(own))
    root = source if source.is_dir() else source.parent
    candidates = [images] if images else [*usual_folders(root), root / "Images", root.parent / "Images"]
    names = [(*_names(path, root, _read(path)), *_own_names(path, root)) for path in own[:SAMPLE]]
    collector.look_in(candidates, names)
    for path in own:
        _read_file(path, root, collector)


def _read(path: Path) -> Element:
    """Reads a file, and checks its outermost element."""
    root = read_xml(path)
    if root.tag != "annotation":
        raise UserError(f"{path} begins with <{one_line(root.tag)}>, not with LabelMe's <annotation>; check the path")
    return root


def _names(path: Path, root: Path, annotation: Element) -> list[str]:
    """Returns the names that the picture of a file may have below the folder of the pictures."""
    name = _text(annotation, "filename") or f"{path.stem}.jpg"
    folder = _text(annotation, "folder")
    beside = path.relative_to(root).parent.as_posix()
    return [f"{folder}/{name}", name] if folder else [name, f"{beside}/{name}"]


def _own_names(path: Path, root: Path) -> list[str]:
    """Returns the names of the pictures that a file may be beside of."""
    return [path.relative_to(root).with_suffix(suffix).as_posix() for suffix in IMAGE_SUFFIXES]


def _read_file(path: Path, root: Path, collector: Collector) -> None:
    """Reads the picture and the objects of one file."""
    annotation = _read(path)
    sides = [_text(annotation, f"imagesize/{side}") for side in ("nrows", "ncols")]
    size = tuple(whole_number(side, f"{path}, imagesize") for side in sides) if all(sides) else None
    picture = collector.picture(_names(path, root, annotation), str(path), size, _own_names(path, root))
    if picture is None:
        return
    owners, shapes = _owners(annotation), []
    for place, record in enumerate(annotation.findall("object"), start=1):
        where = f"{path}, object {one_line(_text(record, 'id') or place)}"
        shapes += _shapes(record, where, path, picture, owners, collector)
    for shape in join_groups(shapes):
        collector.add(picture, shape)


def _owners(annotation: Element) -> dict[str, str]:
    """Returns for the id of each object that is part of another one the id of that."""
    parts = ((_text(record, "id"), _text(record, "parts/ispartof")) for record in annotation.findall("object"))
    owners = {part: owner for part, owner in parts if owner}
    for record in annotation.findall("object"):
        for part in (_text(record, "parts/hasparts") or "").split(","):
            if part.strip() and part.strip() != _text(record, "id"):
                owners.setdefault(part.strip(), _text(record, "id"))
    return owners


def _shapes(
    record: Element, where: str, path: Path, picture: Picture, owners: dict[str, str], collector: Collector
) -> Iterator[Shape]:
    """Gives the shape of an object, unless it was deleted."""
    if _text(record, "deleted") == "1":
        collector.skip("deleted object")
        return
    label = _text(record, "name")
    if not is_label(label):
        raise UserError(f"{where} has no name; give it one, or take it out")
    parts = _parts(record, where, path, picture)
    if not parts:
        collector.skip("object without a polygon or a mask")
        return
    owner, seen = _text(record, "id"), set()
    while owner in owners and owner not in seen:  # parts of parts
        seen.add(owner)
        owner = owners[owner]
    is_rectangle = _text(record, "type") == "bounding_box"
    yield Shape(label, parts, where, owner if owner and owners else None, is_rectangle=is_rectangle)


def _parts(record: Element, where: str, path: Path, picture: Picture) -> list[Part]:
    """Returns the polygon or the mask of an object."""
    polygons = [
        [number(_text(point, axis), f"{where}, {axis}") for point in polygon.findall("pt") for axis in ("x", "y")]
        for polygon in record.findall("polygon")
    ]
    masks = [_mask(mask.text or "", where, path, picture) for mask in record.findall("segm/mask")]
    return [*polygons, *(part for mask in masks for part in mask)]


def _mask(name: str, where: str, path: Path, picture: Picture) -> list[Part]:
    """Returns the mask of an object, whose file lies in the folder Masks beside the file or the folder of the file."""
    inside = last_parts(name.strip())
    folders = [path.parent / "Masks", path.parent, path.parent.parent / "Masks", *_old_folder(path)]
    files = [folder / inside for folder in folders if os.path.isfile(folder / inside)]
    if not files:
        raise UserError(f"{where} has the mask {one_line(name)}, which does not exist; put it into {folders[0]}")
    pixels = read_numbers(files[0]) != 0
    check_same_size(pixels, files[0], (picture.height, picture.width))
    return list(run_length_codes(pixels, picture.height, picture.width).values())


def _old_folder(path: Path) -> list[Path]:
    """Returns the folder of the masks of Annotations/FOLDER/FILE.xml: Masks/FOLDER."""
    return [path.parent.parent.parent / "Masks" / path.parent.name]


def _text(element: Element, tag: str) -> str:
    """Returns the text of an element within another one, without blanks around it."""
    return (element.findtext(tag) or "").strip()
