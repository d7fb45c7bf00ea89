"""Reads YOLO-seg: a text file of labels for each picture, found by "labels" instead of "images" in its path.

A line is the number of a class and the corners of a polygon as fractions of the picture's width and height.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.formats.collector import Collector, Picture
from keras_mrcnn.data.formats.files import number, one_line, read_text
from keras_mrcnn.data.formats.listing import files_below, has_yolo_lines
from keras_mrcnn.data.formats.shapes import Shape
from keras_mrcnn.data.formats.yolo_data import YoloData, listed_pictures, with_labels, yolo_data

_BOX = 4  # numbers after the class
_FARTHEST = 2.0  # fraction; what lies farther out is in pixels


def read_yolo(source: Path, images: Path | None, collector: Collector, split: str | None = None) -> None:
    """Reads a YOLO-seg data set.

    Args:
        source: path of its yaml file, of a folder with one, of a folder with images and labels, or of the pictures of
            a split.
        images: folder of the pictures, if they are elsewhere.
        collector: takes what is read.
        split: which split; None if there is one.

    Raises:
        UserError: a line is malformed, a class has no name, or the labels are boxes, which say no masks.
    """
    data = yolo_data(source)
    for note in data.notes:
        collector.note(note)
    if data.names:
        collector.declare({name: key for key, name in sorted(data.names.items())})
    places = [images] if images else data.splits.get(split or "") or next(iter(data.splits.values()), [data.root])
    folder, names = listed_pictures(places)
    collector.look_in([folder], [])
    label_folders = [data.root / "labels" / (split or ""), data.root / "labels", data.root]
    if not images:
        label_folders = [with_labels(folder), *label_folders, folder]
    reader = _Reader(data, folder, label_folders, collector)
    for name in names:
        reader.read(name)
    if all(place.is_dir() for place in places):  # a list may leave pictures out
        reader.find_pictures_of_unused_labels()
    reader.finish(source, len(names))


class _Reader:
    """Reads the label files of one split."""

    def __init__(self, data: YoloData, folder: Path, label_folders: list[Path], collector: Collector) -> None:
        self.data, self.folder, self.label_folders, self.collector = data, folder, label_folders, collector
        self.used: set[Path] = set()
        self.num_without = self.num_boxes = 0

    def read(self, name: str) -> None:
        """Reads the labels of a picture."""
        path = self._label_file(name)
        picture = self.collector.picture([name], str(path or name))
        if path is None:
            self.num_without += 1
            return
        self.used.add(path)
        for shape in self._shapes(path, picture) if picture else ():
            self.collector.add(picture, shape)

    def _label_file(self, name: str) -> Path | None:
        """Returns the label file of a picture, or None if there is none."""
        found = Path(self.collector.folder.find([name]) or name)
        folders = [folder / found.parent for folder in self.label_folders]
        if self.label_folders[0] == with_labels(self.folder):  # the pictures of a list may lie in folders called images
            folders.insert(0, with_labels(self.folder / found).parent)
        files = [folder / f"{found.stem}.txt" for folder in folders]
        return next((path for path in files if os.path.isfile(path)), None)

    def _shapes(self, path: Path, picture: Picture) -> Iterator[Shape]:
        """Gives the objects of a label file; counts boxes."""
        for row, line in enumerate(read_text(path).splitlines(), start=1):
            fields, where = line.split(), f"{path}, line {row}"
            if len(fields) == 1 + _BOX:
                self.num_boxes += 1
            elif fields:
                label = self._label(fields[0], where)
                yield Shape(label, [_polygon(fields[1:], where, picture)], where)

    def _label(self, text: str, where: str) -> str:
        """Returns the name of a class."""
        if not text.isdecimal() or len(text) > 9:
            raise UserError(f"{where} begins with {one_line(text)!r}, not with the number of a class; correct it")
        if not self.data.names:
            return str(int(text))
        if int(text) not in self.data.names:
            raise UserError(f"{where} is of class {int(text)}, which has no name; add it to the names of the data set")
        return self.data.names[int(text)]

    def finish(self, source: Path, num_pictures: int) -> None:
        """Says what was not as it should be."""
        collector = self.collector
        if self.num_boxes and not collector.annotations:
            raise UserError(
                f"{source} has boxes (lines of 5 numbers), which say no masks; export polygons (YOLO segmentation)"
            )
        collector.skip("box without a mask", self.num_boxes)
        if num_pictures and self.num_without == num_pictures:
            raise UserError(f"{source} has no label files for the pictures in {self.folder}; check the path")
        if self.num_without:
            have = "has" if self.num_without == 1 else "have"
            collector.note(f"{self.num_without} of {num_pictures} pictures {have} no label file, so no objects")
        if not self.data.names:
            collector.note("neither a yaml file nor classes.txt has names of the classes, so they are called by number")

    def find_pictures_of_unused_labels(self) -> None:
        """Asks the collector for the missing pictures of label files."""
        for folder in sorted({path.parent for path in self.used}):
            for path in files_below(folder, (".txt",), deepest=0):
                if path not in self.used and has_yolo_lines(path):
                    below = next((labels for labels in self.label_folders if labels in path.parents), folder)
                    self.collector.picture([path.relative_to(below).with_suffix(".jpg").as_posix()], str(path))


def _polygon(fields: list[str], where: str, picture: Picture) -> list[float]:
    """Returns the polygon of a line in pixels."""
    if len(fields) < _BOX or len(fields) % 2:
        raise UserError(f"{where} has {len(fields)} numbers after the class, not x and y of each corner; correct it")
    values = [number(field, where) for field in fields]
    if min(values) < 1 - _FARTHEST or max(values) > _FARTHEST:
        raise UserError(f"{where} has the coordinate {max(values, key=abs):g}, not a fraction of a side; correct it")
    sides = (picture.width, picture.height)
    return [value * sides[place % 2] for place, value in enumerate(values)]
