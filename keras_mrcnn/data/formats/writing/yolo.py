"""Writes YOLO-seg data sets as Ultralytics reads them.

dataset.yaml names the classes and the folders; labels/PART has a text file for each picture with a line for each
object: the number of its class and the corners of its one polygon as fractions of the image's sides. Ultralytics finds
the labels by replacing "images" with "labels" in the path of a picture, so images/PART holds links to the pictures: the
paths of pictures that lie elsewhere would make it look for the labels there. The folder itself is no link, because
Ultralytics would follow it. `path` is absolute: several versions take a relative one, or none at all, for a folder
below their own data folder.

Several parts of an object become one polygon by bridges, and so do holes; see `data.outlines.joined_polygon`. The
points of a polygon are kept if they give the same pixels; otherwise (parts that overlap, corners outside the image) the
outline of the mask is written. A program that also fills the pixels under an outline draws the bridges as thin lines.

YOLO-seg has no crowd regions, no objects without a mask and no scores: they are left out and counted. A picture without
objects has an empty file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import yaml
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

from keras_mrcnn.data.coco import complete_index
from keras_mrcnn.data.formats.writing.folders import NewFolder, name_in_folder
from keras_mrcnn.data.formats.writing.masks import EMPTY, cropped_mask
from keras_mrcnn.data.formats.writing.parts import UNNAMED, Part
from keras_mrcnn.data.outlines import joined_polygon, mask_outlines

YAML_NAME = "dataset.yaml"
YAML_HEAD = "# `path` is the folder of this file: change it when you move the folder.\n"
NO_VAL = (
    "Ultralytics trains only with train and val in dataset.yaml; make both with `keras-mrcnn data split` before you "
    "convert."
)


def write_folder(parts: Mapping[str, Part], folder: NewFolder) -> list[str]:
    """Writes dataset.yaml, labels/PART and images/PART.

    Args:
        parts: the parts by name, checked, all with the same categories.
        folder: where to write. Its `skipped` counts what is left out.

    Returns:
        Sentences that the user should see.
    """
    categories = next(iter(parts.values())).content["categories"]
    classes = {category["id"]: number for number, category in enumerate(categories)}
    for name, part in parts.items():
        coco = complete_index(part.content)
        folder.skipped["score"] += sum("score" in annotation for annotation in coco.dataset["annotations"])
        for image in part.content["images"]:
            lines = _lines(coco, image, classes, folder.skipped)
            folder.file(annotation_name(image, name)).write_text("".join(lines), encoding="utf-8")
            folder.link(part.pictures.get(image["id"]), PurePosixPath("images", name, *_parts(image)))
    names = {number: category["name"] for number, category in enumerate(categories)}
    description = {"path": str(folder.final), **{name: f"images/{name}" for name in parts}, "names": names}
    text = yaml.safe_dump(description, allow_unicode=True, sort_keys=False)
    folder.file(YAML_NAME).write_text(YAML_HEAD + text, encoding="utf-8")
    return [] if {"train", "val"} <= set(parts) else [NO_VAL]


def annotation_name(image: dict, part: str = UNNAMED) -> PurePosixPath:
    """Returns the path below the folder of the annotations of an image."""
    return PurePosixPath("labels", part, *_parts(image)).with_suffix(".txt")


def is_own(path: Path, name: PurePosixPath) -> bool:
    """Returns whether a file, by its path below the folder, is one that `write_folder` or Ultralytics writes."""
    is_label = name.parts[0] == "labels" and name.suffix in (".txt", ".cache")
    return is_label or name == PurePosixPath(YAML_NAME)


def _parts(image: dict) -> list[str]:
    """Returns the parts of a file name without folders called images, where Ultralytics would look for labels."""
    name = name_in_folder(image)
    return [part for part in name.parts[:-1] if part != "images"] + [name.name]


def _lines(coco: COCO, image: dict, classes: dict[int, int], skipped: Counter) -> Iterator[str]:
    """Gives the lines of the file of an image."""
    for annotation in coco.imgToAnns.get(image["id"], []):
        if annotation["iscrowd"]:
            skipped["crowd region"] += 1
        elif not annotation.get("segmentation"):
            skipped["object without a mask"] += 1
        else:
            polygon = one_polygon(annotation["segmentation"], coco.annToRLE(annotation))
            if polygon is None:
                skipped[EMPTY] += 1
                continue
            sides = (image["width"], image["height"])
            fractions = [fraction_text(value, side) for point in polygon.tolist() for value, side in zip(point, sides)]
            yield f"{classes[annotation['category_id']]} {' '.join(fractions)}\n"


def one_polygon(segmentation: list | dict, code: dict) -> np.ndarray | None:
    """Returns one polygon inside the image that covers the pixels of a segmentation.

    Args:
        segmentation: polygons, or a run-length code.
        code: the same as COCO's compressed run-length code, as `COCO.annToRLE` gives it.

    Returns:
        [P, 2], x and y; None if the segmentation covers no pixel.

    Example:
        >>> polygons = [[-1, 0, 2, 0, 2, 2, -1, 2]]
        >>> one_polygon(polygons, mask_api.frPyObjects(polygons, 4, 4)[0]).tolist()
        [[0, 0], [2, 0], [2, 2], [0, 2]]
    """
    if not mask_api.area(code):
        return None
    if isinstance(segmentation, list):
        height, width = code["size"]
        polygon = joined_polygon([np.reshape(points, (-1, 2)).clip(0, [width, height]) for points in segmentation])
        again = mask_api.frPyObjects([polygon.ravel().tolist()], height, width)[0] if len(polygon) > 2 else {}
        if again.get("counts") == code["counts"]:
            return polygon
    mask, x, y = cropped_mask(code)
    return joined_polygon([outline.points for outline in mask_outlines(mask)]) + [x, y]


def fraction_text(value: float, side: int) -> str:
    """Returns the decimal fraction that gives `value` back when it is multiplied by `side`.

    Where no float64 does so to the last bit, the product is the least bit larger: pycocotools rounds coordinates to
    fifths of pixels, and many (2.1, 2.3, 2.5) lie just where it begins to round up.

    Example:
        >>> fraction_text(213.5, 427), fraction_text(1, 3), fraction_text(640, 640)
        ('0.5', '0.3333333333333333', '1')
    """
    fraction = value / side
    near = (np.nextafter(fraction, 0.0), fraction, np.nextafter(fraction, 1.0))
    return np.format_float_positional(next(other for other in near if other * side >= value), trim="-")
