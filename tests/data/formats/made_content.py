"""Contents of COCO files with holes, parts, crowds and odd names, and their masks, for the tests of the writers."""

from __future__ import annotations

import numpy as np
from PIL import Image
from pycocotools import mask as mask_api

HEIGHT, WIDTH = 12, 17


def square(x, y, side):
    return [x, y, x + side, y, x + side, y + side, x, y + side]


def code_of(mask):
    """The compressed run-length code of a mask, as files have it."""
    code = mask_api.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(code["size"]), "counts": code["counts"].decode("ascii")}


def ring():
    """A mask with a hole."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[2:9, 3:12] = 1
    mask[4:6, 5:8] = 0
    return mask


def dots():
    """A mask of two parts, one of which touches itself at a corner."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[1, 1] = mask[2, 2] = 1
    mask[9:11, 14:17] = 1
    return mask


def annotation(number, segmentation, image_id=3, category_id=18, **fields):
    return {
        "id": number, "image_id": image_id, "category_id": category_id, "bbox": [1, 1, 4, 4], "area": 16.0,
        "iscrowd": 0, "segmentation": segmentation, **fields,
    }  # fmt: skip


def made_content():
    """Three images of 12 x 17 px: one object of every kind and a crowd; one more object; none."""
    names = {3: "b.jpg", 7: "straße 1/ünïcode ü.png", 9: "empty.jpg"}
    return {
        "images": [
            {"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH} for number, name in names.items()
        ],
        "annotations": [
            annotation(1, [[1.1, 1.3, 5.7, 1.9, 3.3, 6.1]]),
            annotation(2, [square(1, 1, 4), square(8, 6, 5)], category_id=4),
            annotation(5, code_of(ring())),
            annotation(6, code_of(dots())),
            annotation(8, code_of(ring()), iscrowd=1),
            annotation(9, [square(2, 2, 3)], image_id=7, category_id=4),
        ],
        "categories": [{"id": 18, "name": "dög"}, {"id": 4, "name": "traffic light"}],
    }


def masks_of(content):
    """The masks by image name and class name, crowds apart: lists of bool arrays in the order of the content."""
    images = {image["id"]: image for image in content["images"]}
    names = {category["id"]: category["name"] for category in content["categories"]}
    masks = {}
    for item in content["annotations"]:
        image = images[item["image_id"]]
        key = (image["file_name"].rpartition("/")[2], names[item["category_id"]], bool(item.get("iscrowd")))
        masks.setdefault(key, []).append(mask_of(item["segmentation"], image["height"], image["width"]))
    return masks


def mask_of(segmentation, height, width):
    if isinstance(segmentation, list):
        code = mask_api.merge(mask_api.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        code = mask_api.frPyObjects(segmentation, height, width)
    else:
        code = segmentation
    return mask_api.decode(code).astype(bool)


def write_pictures(content, folder):
    """Small pictures of the images of a content; returns the folder."""
    for image in content["images"]:
        path = folder / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((image["height"], image["width"], 3), np.uint8)).save(path)
    return folder


def links(folder):
    """The names of all links below a folder, each with the file that it stands for."""
    return {
        path.relative_to(folder).as_posix(): path.resolve() for path in sorted(folder.rglob("*")) if path.is_symlink()
    }
