"""Reads masks with the names of Cityscapes: CITY_..._gtFine_instanceIds.png, value = 1000 * class + number.

A value below 1000 is a class without numbers: a surface such as road, which is left out, or a group of things that
nobody told apart, which becomes a crowd region.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.image_files import IMAGE_SUFFIXES
from keras_mrcnn.data.formats.collector import Collector
from keras_mrcnn.data.formats.folders import SAMPLE
from keras_mrcnn.data.formats.listing import files_below
from keras_mrcnn.data.formats.mask_files import read_numbers
from keras_mrcnn.data.formats.shapes import Shape, run_length_codes

ENDING = "_instanceIds.png"
_MASK_KINDS = ("_gtFine", "_gtCoarse")
_PICTURES, _PICTURE_ENDING = "leftImg8bit", "_leftImg8bit"
# The classes of things that have instances, by Cityscapes' numbers.
_THINGS = {
    24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus",
    29: "caravan", 30: "trailer", 31: "train", 32: "motorcycle", 33: "bicycle",
}  # fmt: skip


def instance_files(source: Path) -> list[Path]:
    """Lists the masks below a folder."""
    return [path for path in files_below(source, (".png",)) if path.name.endswith(ENDING)]


def read_cityscapes(source: Path, images: Path | None, collector: Collector) -> None:
    """Reads a folder of Cityscapes' masks.

    Args:
        source: path of the folder, such as gtFine or gtFine/train, or of what holds gtFine and leftImg8bit.
        images: folder of the pictures, or None to look for leftImg8bit.
        collector: takes what is read.

    Raises:
        UserError: there are no masks, or one is damaged.
    """
    files = instance_files(source)
    if not files:
        raise UserError(f"{source} has no files that end in {ENDING}; check the path")
    collector.declare({name: number for number, name in _THINGS.items()})
    candidates = [images] if images else list(_picture_folders(source))
    collector.look_in(candidates, [_names(path, source) for path in files[:SAMPLE]])
    for path in files:
        _read_picture(path, source, collector)


def _picture_folders(source: Path) -> Iterator[Path]:
    """Gives the folders where the pictures of the masks in a folder may be."""
    source = source.resolve()
    for above in (source, *source.parents[:3]):
        inside = source.relative_to(above).parts
        yield above.joinpath(_PICTURES, *inside[1:])  # inside[0] is gtFine
    yield source


def _names(path: Path, source: Path) -> list[str]:
    """Returns the names that the picture of a mask may have below the folder of the pictures."""
    place = path.relative_to(source)
    stem = path.name[: -len(ENDING)]
    for kind in _MASK_KINDS:
        stem = stem[: -len(kind)] if stem.endswith(kind) else stem
    folders = [place.parent.parts, place.parent.parts[1:], ()]  # with and without gtFine
    names = [stem + ending + suffix for ending in (_PICTURE_ENDING, "") for suffix in (".png", *IMAGE_SUFFIXES)]
    return list(dict.fromkeys("/".join([*parts, name]) for parts in folders for name in names))


def _read_picture(path: Path, source: Path, collector: Collector) -> None:
    """Reads the objects of a picture."""
    values = read_numbers(path)
    picture = collector.picture(_names(path, source), str(path), values.shape)
    for value, code in run_length_codes(values, *values.shape).items() if picture else ():
        number = value // 1000 if value >= 1000 else value
        if number in _THINGS:
            collector.add(picture, Shape(_THINGS[number], [code], f"{path}, value {value}", is_crowd=value < 1000))
        elif value >= 1000:
            collector.skip(f"object of the unknown class {number}")
