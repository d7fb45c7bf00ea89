"""Reads Pascal VOC's masks: SegmentationClass says the class of each pixel, SegmentationObject its object.

Both are palette images whose values are numbers, as VOC and labelme2voc write them, or RGB images of the palette's
colours, as CVAT writes them. The value 255 is void: neither object nor background. labelmap.txt (with the colours),
class_names.txt, or VOC's own list name the classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.image_files import IMAGE_SUFFIXES
from keras_mrcnn.data.formats.collector import Collector
from keras_mrcnn.data.formats.files import one_line, read_text, whole_number
from keras_mrcnn.data.formats.listing import entries, subfolders
from keras_mrcnn.data.formats.mask_files import check_same_size, packed, read_numbers
from keras_mrcnn.data.formats.shapes import Shape, run_length_codes

_CLASS_FOLDERS = ("SegmentationClass", "SegmentationClassPNG")
_OBJECT_FOLDERS = ("SegmentationObject", "SegmentationObjectPNG")
_VOID = 255
_BACKGROUND = ("background", "_background_")
_IGNORED = ("__ignore__",)
# The classes of Pascal VOC, numbered from 1.
_VOC_NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


class VocFolder(NamedTuple):
    """A VOC data set: its folder, and the masks in it by stem."""

    root: Path
    classes: dict[str, Path]
    objects: dict[str, Path]


def find_voc(source: Path) -> VocFolder | None:
    """Finds a VOC data set in a folder, or up to two levels below it; returns None if there is none."""
    levels = [[source], subfolders(source), [path for folder in subfolders(source) for path in subfolders(folder)]]
    for root in (folder for level in levels for folder in level):
        classes, objects = (_first_masks(root, names) for names in (_CLASS_FOLDERS, _OBJECT_FOLDERS))
        if classes and objects:
            return VocFolder(root, classes, objects)
    return None


def voc_splits(root: Path) -> dict[str, Path]:
    """Returns the lists of pictures with masks, ImageSets/Segmentation/SPLIT.txt, by the name of the split."""
    lists = sorted((root / "ImageSets" / "Segmentation").glob("*.txt"))
    splits = {path.stem: path for path in lists}
    return {name: path for name, path in splits.items() if name != "trainval" or not {"train", "val"} <= set(splits)}


def read_voc(source: Path, images: Path | None, collector: Collector) -> None:
    """Reads the pictures of a VOC data set that have both masks.

    Args:
        source: path of the folder, or of a list ImageSets/Segmentation/SPLIT.txt in it.
        images: folder of the pictures; None for JPEGImages.
        collector: takes what is read.

    Raises:
        UserError: there are no such folders, or a mask is damaged, of another size than the other one of its picture,
            or of a class without a name.
    """
    voc = find_voc(source if source.is_dir() else source.parent.parent.parent)
    if voc is None:
        raise UserError(f"{source} has no folders SegmentationClass and SegmentationObject with masks; check the path")
    pictures = images or voc.root / "JPEGImages"
    collector.look_in([pictures], [])
    listed = _files_by_stem(pictures) if source.is_dir() else [line.split()[0] for line in _lines(source)]
    with_masks = sorted(set(voc.classes) & set(voc.objects) & (set(voc.classes) if source.is_dir() else set(listed)))
    collector.skip("picture without masks", len(set(listed) - set(with_masks)))
    names, colours = _class_names(voc.root)
    collector.declare({name: number for number, name in names.items() if name not in (*_BACKGROUND, *_IGNORED)})
    for stem in with_masks:
        _read_picture(stem, voc, names, colours, collector)


def _first_masks(root: Path, names: Sequence[str]) -> dict[str, Path]:
    """Returns the masks in the first of the folders that has some, by stem."""
    return next((masks for name in names if (masks := _files_by_stem(root / name))), {})


def _files_by_stem(folder: Path) -> dict[str, Path]:
    """Returns the image files in a folder by stem."""
    return {path.stem: path for path in entries(folder) if path.suffix.lower() in IMAGE_SUFFIXES}


def _lines(path: Path) -> list[str]:
    """Returns the lines of a text file that are neither empty nor comments."""
    lines = [line.strip() for line in read_text(path).splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _class_names(root: Path) -> tuple[dict[int, str], dict[int, int]]:
    """Returns the name of each class number, and the number of each colour if a file says the colours."""
    if (root / "labelmap.txt").is_file():
        return _labelmap(root / "labelmap.txt")
    if (root / "class_names.txt").is_file():
        lines = [line for line in _lines(root / "class_names.txt") if line not in _IGNORED]
        return dict(enumerate(lines)), {}
    return dict(enumerate((_BACKGROUND[0], *_VOC_NAMES))), {}


def _labelmap(path: Path) -> tuple[dict[int, str], dict[int, int]]:
    """Reads lines such as "cat:64,0,0::"; numbers the classes in their order, from 1."""
    names, colours = {0: _BACKGROUND[0]}, {0: 0}
    for line in _lines(path):
        name, _, rest = line.partition(":")
        values = rest.partition(":")[0].split(",")
        if not name or len(values) != 3:
            raise UserError(f"{path} has the line {one_line(line)!r}, not one as cat:64,0,0::; correct it")
        number = 0 if name in _BACKGROUND else max(names) + 1
        names[number] = name
        colours[packed(*(whole_number(value, f"{path}, colour of {one_line(name)}") for value in values))] = number
    return names, colours


def palette_colours() -> list[int]:
    """Returns VOC's colours of the numbers 0 to 255, packed.

    The bits of a number go to red, green and blue in turn, the lowest ones to the highest bits of the colours.

    Example:
        >>> palette_colours()[:4]  # black, dark red, dark green, olive
        [0, 8388608, 32768, 8421376]
    """
    return [
        packed(*(sum((number >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3)) for channel in range(3)))
        for number in range(256)
    ]


def _read_picture(
    stem: str, voc: VocFolder, names: dict[int, str], colours: dict[int, int], collector: Collector
) -> None:
    """Reads the masks of a picture."""
    path, class_path = voc.objects[stem], voc.classes[stem]
    numbers, class_numbers = read_numbers(path), _class_numbers(class_path, colours)
    check_same_size(class_numbers, class_path, numbers.shape)
    picture = collector.picture([stem + suffix for suffix in IMAGE_SUFFIXES], str(path), numbers.shape)
    void = palette_colours()[_VOID] if numbers.dtype == np.int64 else _VOID
    for number, code in run_length_codes(numbers, *numbers.shape).items() if picture else ():
        if number != void:
            label = _label(class_numbers[numbers == number], names, class_path)
            if label is None:
                collector.skip("object without a class")
            else:
                collector.add(picture, Shape(label, [code], f"{path}, object {number}"))


def _class_numbers(path: Path, colours: dict[int, int]) -> np.ndarray:
    """Returns the class of each pixel, [H, W]; 0 is background, 255 void."""
    values = read_numbers(path, colours=bool(colours))
    if values.dtype != np.int64:
        if not colours:
            return values
        values = packed(*[values.astype(np.int64)] * 3)  # grey is a colour too
    palette = palette_colours()
    table = {palette[_VOID]: _VOID, **(colours or dict(zip(palette, range(256))))}
    unique, places = np.unique(values, return_inverse=True)
    unknown = [int(colour) for colour in unique if int(colour) not in table]
    if unknown:
        red, green, blue = unknown[0] >> 16, unknown[0] >> 8 & 255, unknown[0] & 255
        listed = "labelmap.txt" if colours else "VOC's palette"
        raise UserError(f"mask file {path} has the colour {red},{green},{blue}, which is not in {listed}; correct it")
    return np.array([table[int(colour)] for colour in unique])[places].reshape(values.shape)


def _label(values: np.ndarray, names: dict[int, str], path: Path) -> str | None:
    """Returns the name of the class that most pixels of an object have, or None if they are background and void."""
    numbers, counts = np.unique(values[(values != 0) & (values != _VOID)], return_counts=True)
    if not len(numbers):
        return None
    number = int(numbers[counts.argmax()])
    if number not in names:
        raise UserError(f"mask file {path} has the class {number}, which has no name; add it to class_names.txt")
    return names[number]
