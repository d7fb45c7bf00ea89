"""Writes LabelMe files: one JSON beside a link to each picture, so that `labelme FOLDER` opens all of them.

An object is one polygon, or one for each of its parts with the same `group_id`. A run-length code becomes polygons
along the edges of its pixels. A mask with holes, which polygons of LabelMe cannot say, becomes a shape of the type
"mask": a PNG of its box in base64, which LabelMe shows from version 5.4 on. An object that has only a box becomes a
rectangle, a crowd region has the flag `CROWD_FLAG`, and the score of a detection stands in the description.
"""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image
from pycocotools.coco import COCO

from keras_mrcnn.data.coco import complete_index
from keras_mrcnn.data.formats.labelme import CROWD_FLAG
from keras_mrcnn.data.formats.writing.folders import NewFolder, name_in_folder
from keras_mrcnn.data.formats.writing.masks import EMPTY, EMPTY_CROWD, cropped_mask
from keras_mrcnn.data.formats.writing.parts import UNNAMED, Part
from keras_mrcnn.data.outlines import mask_outlines

VERSION = "5.4.1"  # of the format; LabelMe compares its first number with its own


def write_folder(parts: Mapping[str, Part], folder: NewFolder) -> list[str]:
    """Writes a JSON file and a link for each picture; several parts each get a folder of their name.

    Args:
        parts: the parts by name, checked.
        folder: where to write. Its `skipped` counts the objects that are left out.

    Returns:
        Sentences that the user should see.
    """
    for name, part in parts.items():
        coco = complete_index(part.content)
        below = PurePosixPath() if set(parts) == {UNNAMED} else PurePosixPath(name)
        for image in part.content["images"]:
            place = below / name_in_folder(image)
            text = json.dumps(_content(coco, image, folder.skipped), indent=2)
            folder.file(below / annotation_name(image)).write_text(text, encoding="utf-8")
            folder.link(part.pictures.get(image["id"]), place)
    return []


def annotation_name(image: dict) -> PurePosixPath:
    """Returns the path below the folder of the annotations of an image, in a data set without named parts."""
    return name_in_folder(image).with_suffix(".json")


def is_own(path: Path, name: PurePosixPath) -> bool:
    """Returns whether a file is one that LabelMe or `write_folder` writes."""
    try:
        return name.suffix == ".json" and "shapes" in json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, TypeError, RecursionError):
        return False


def _content(coco: COCO, image: dict, skipped: Counter) -> dict[str, Any]:
    """Returns the content of the file of an image."""
    shapes: list[dict] = []
    for annotation in coco.imgToAnns.get(image["id"], []):
        common = {"label": coco.cats[annotation["category_id"]]["name"], **_remarks(annotation)}
        parts = list(_shapes(annotation, coco, image, skipped))
        group = 1 + max([shape["group_id"] or 0 for shape in shapes], default=0) if len(parts) > 1 else None
        shapes += [{**common, **shape, "group_id": group} for shape in parts]
    return {
        "version": VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": PurePosixPath(image["file_name"]).name,
        "imageData": None,
        "imageHeight": image["height"],
        "imageWidth": image["width"],
    }


def _remarks(annotation: dict) -> dict[str, Any]:
    """Returns the fields of a shape that LabelMe keeps without using them."""
    description = f"score {annotation['score']:.3f}" if "score" in annotation else ""
    return {"description": description, "flags": {CROWD_FLAG: True} if annotation["iscrowd"] else {}}


def _shapes(annotation: dict, coco: COCO, image: dict, skipped: Counter) -> Iterator[dict]:
    """Gives the shapes of an object: their type, points and mask."""
    segmentation = annotation.get("segmentation")
    if not segmentation:
        x, y, width, height = annotation["bbox"]
        yield _shape("rectangle", [[x, y], [x + width, y + height]])
    elif isinstance(segmentation, list):
        for polygon in segmentation:
            yield _shape("polygon", np.reshape(polygon, (-1, 2)).tolist())
    else:
        mask, x, y = cropped_mask(coco.annToRLE(annotation))
        outlines = mask_outlines(mask)
        if not outlines:
            skipped[EMPTY_CROWD if annotation["iscrowd"] else EMPTY] += 1
        elif any(outline.is_hole for outline in outlines):
            corners = [[x, y], [x + mask.shape[1] - 1, y + mask.shape[0] - 1]]  # the first and the last pixel
            yield _shape("mask", corners, _png_text(mask))
        else:
            for outline in outlines:
                yield _shape("polygon", (outline.points + [x, y]).tolist())


def _shape(shape_type: str, points: list, mask: str | None = None) -> dict[str, Any]:
    """Returns a shape with coordinates as float, as LabelMe has them."""
    points = [[float(value) for value in point] for point in points]
    return {"shape_type": shape_type, "points": points, "mask": mask}


def _png_text(mask: np.ndarray) -> str:
    """Returns a mask as PNG of 0 and 1 in base64."""
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8)).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")
