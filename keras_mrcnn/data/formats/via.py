"""Reads the annotations of the VGG Image Annotator 1 and 2: JSON, projects and CSV, one file for all pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.formats.collector import Collector
from keras_mrcnn.data.formats.files import check, is_label, is_text, one_line, or_none, read_csv, read_json
from keras_mrcnn.data.formats.folders import usual_folders
from keras_mrcnn.data.formats.listing import files_below, is_via_csv, json_kind
from keras_mrcnn.data.formats.shapes import Shape, ellipse, rectangle
from keras_mrcnn.data.records import is_name, is_number

_CLASS_ATTRIBUTES = ("name", "label", "labels", "class", "type")
_ONLY_CLASS = "object"  # of regions of which none has an attribute
_PROJECT = "_via_img_metadata"
_NO_AREA = ("polyline", "point", "line")


class _Region(NamedTuple):
    """A region of a picture: the attributes that say its shape, and those that the user defined."""

    shape: dict
    attributes: dict
    where: str


def read_via(source: Path, images: Path | None, collector: Collector) -> None:
    """Reads a file of VIA, or the one in a folder.

    Args:
        source: path of the file or the folder.
        images: folder of the pictures, or None to look for it.
        collector: takes what is read.

    Raises:
        UserError: there is not exactly one such file, it is malformed, or does not tell which attribute is the class.
    """
    path = _only_file(source) if source.is_dir() else source
    pictures = list(_csv_pictures(path) if is_via_csv(path) else _json_pictures(path))
    attribute = _class_attribute(path, [region for _, _, regions in pictures for region in regions], collector)
    collector.look_in([images] if images else usual_folders(path.parent), [[name] for name, _, _ in pictures])
    for name, where, regions in pictures:
        picture = collector.picture([name], where)
        for region in regions if picture else ():
            label = _label(region, attribute)
            parts = _parts(region, collector) if label else None
            if not label:
                collector.skip("region without a class")
            elif parts is not None:
                collector.add(picture, Shape(label, parts, region.where, is_rectangle=region.shape["name"] == "rect"))


def _only_file(folder: Path) -> Path:
    """Returns the one VIA file in a folder; JSON is preferred to CSV, because VIA exports the same as both."""
    for suffix, is_own in ((".json", lambda path: json_kind(path) == "via"), (".csv", is_via_csv)):
        files = [path for path in files_below(folder, (suffix,), deepest=1) if is_own(path)]
        if len(files) > 1:
            names = ", ".join(path.name for path in files)
            raise UserError(f"{folder} has {len(files)} files of VIA ({names}); name the one to read")
        if files:
            return files[0]
    raise UserError(f"{folder} has no file of VIA; check the path")


def _json_pictures(path: Path) -> Iterator[tuple[str, str, list[_Region]]]:
    """Gives name, place and regions of each picture of a JSON file or a project."""
    content = check(read_json(path), str(path), {})
    entries = content.get(_PROJECT, content)
    fields = {"filename": is_name, "regions": lambda value: isinstance(value, (list, dict))}
    for key, entry in check(entries, f"{path}, {_PROJECT}", {}).items():
        where = f"{path}, {one_line(key)}"
        check(entry, where, fields)
        records = entry["regions"]
        items = records.items() if isinstance(records, dict) else enumerate(records)  # VIA 1 numbers them by keys
        yield entry["filename"], where, [_region(record, f"{where}, region {one_line(name)}") for name, record in items]


def _csv_pictures(path: Path) -> Iterator[tuple[str, str, list[_Region]]]:
    """Gives name, place and regions of each picture of a CSV file, which has a line for each region."""
    pictures: dict[str, list[_Region]] = {}
    for row, record in enumerate(read_csv(path), start=2):
        where = f"{path}, row {row}"
        name = record.get("filename") or record.get("#filename")
        check({"filename": name}, where, {"filename": is_name})
        columns = {
            key: _json_cell(record.get(f"region_{key}"), f"{where}, region_{key}")
            for key in ("shape_attributes", "attributes")
        }
        regions = pictures.setdefault(name, [])
        if columns["shape_attributes"]:  # a picture without regions has one line without a shape
            regions.append(_region({**columns, "region_attributes": columns["attributes"]}, where))
    yield from ((name, f"{path}, {one_line(name)}", regions) for name, regions in pictures.items())


def _json_cell(text: str | None, where: str) -> Any:
    """Reads the JSON in a cell of a CSV file."""
    try:
        return json.loads(text or "")
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not valid JSON ({error}); export it again") from error


def _region(record: Any, where: str) -> _Region:
    """Returns a region whose fields are objects."""
    fields = {name: (lambda value: isinstance(value, dict)) for name in ("shape_attributes", "region_attributes")}
    check(record, where, fields)
    return _Region(record["shape_attributes"], record["region_attributes"], where)


def _class_attribute(path: Path, regions: list[_Region], collector: Collector) -> str | None:
    """Returns the name of the attribute that holds the class, or None if no region has an attribute."""
    names = list(dict.fromkeys(name for region in regions for name in region.attributes))
    if not names:
        if regions:
            collector.note(f"the regions have no attributes, so all are of one class, called {_ONLY_CLASS!r}")
        return None
    usual = [name for wanted in _CLASS_ATTRIBUTES for name in names if name.lower() == wanted]
    if len(names) > 1 and not usual:
        raise UserError(
            f"the regions of {path} have the attributes {', '.join(map(one_line, names))}, and none is called "
            f"{', '.join(_CLASS_ATTRIBUTES)}; give that with the class one of these names in VIA"
        )
    chosen = usual[0] if len(names) > 1 else names[0]
    if len(names) > 1:
        others = ", ".join(one_line(name) for name in names if name != chosen)
        collector.note(f"the class of a region is its attribute {one_line(chosen)!r}; not used: {others}")
    return chosen


def _label(region: _Region, attribute: str | None) -> str | None:
    """Returns the class of a region, or None if it has none.

    Raises:
        UserError: it has several, or a value that is no name.
    """
    if attribute is None:
        return _ONLY_CLASS
    value = region.attributes.get(attribute)
    if isinstance(value, dict):  # checkboxes: the names of those that are marked
        value = [name for name, is_marked in value.items() if is_marked]
        if len(value) > 1:
            names = " and ".join(map(one_line, value))
            raise UserError(f"{region.where} is of several classes, {names}; mark one of them in VIA")
        value = value[0] if value else None
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    value = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    return check({attribute: value}, region.where, {attribute: is_label})[attribute].strip()


def _parts(region: _Region, collector: Collector) -> list[list[float]] | None:
    """Returns the polygon of a region, or None if it has no area."""
    kind = check(region.shape, region.where, {"name": is_text})["name"]
    if kind in _NO_AREA:
        collector.skip(kind)
        return None
    if kind not in _NUMBERS:
        collector.skip(f"shape of the unknown type {one_line(kind)}")
        return None
    names, shape = _NUMBERS[kind], region.shape
    if kind == "polygon":
        check(shape, region.where, {name: _are_numbers for name in names})
        xs, ys = (shape[name] for name in names)
        if len(xs) != len(ys):
            raise UserError(f"{region.where} has {len(xs)} values of x and {len(ys)} of y; correct it")
        return [[value for point in zip(xs, ys) for value in point]]
    check(shape, region.where, {name: is_number for name in names}, {"theta": or_none(is_number)})
    values, angle = [shape[name] for name in names], shape.get("theta") or 0.0
    if kind == "rect":
        x, y, width, height = values
        return [rectangle(x, y, x + width, y + height)]
    return [ellipse(*values, *values[2:] * (kind == "circle"), angle if kind == "ellipse" else 0.0)]


def _are_numbers(value: Any) -> bool:
    """Returns whether a value is a list of finite numbers."""
    return isinstance(value, list) and all(map(is_number, value))


# The attributes of each shape that has an area.
_NUMBERS = {
    "polygon": ("all_points_x", "all_points_y"),
    "rect": ("x", "y", "width", "height"),
    "circle": ("cx", "cy", "r"),
    "ellipse": ("cx", "cy", "rx", "ry"),
}
