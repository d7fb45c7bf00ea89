"""COCO annotations and results made of rectangles, whose masks cover exactly their boxes."""

from __future__ import annotations

import contextlib
import io

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

SIDE = 200  # of every image, pixels
CATEGORIES = [{"id": 3, "name": "car"}, {"id": 7, "name": "dog"}, {"id": 90, "name": "unicorn"}]
CAR, DOG, UNICORN = 3, 7, 90


def rectangle(box):
    """The mask of a whole-pixel xywh box, as compressed RLE."""
    x, y, width, height = box
    mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
    mask[y : y + height, x : x + width] = 1
    rle = coco_mask.encode(mask)
    return {"size": [SIDE, SIDE], "counts": rle["counts"].decode()}


def make_coco(annotations, images=(5, 6, 9)):
    """A COCO object; annotations are (image id, category id, xywh in whole pixels, crowd), with ids from 11."""
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image, "height": SIDE, "width": SIDE} for image in images],
        "categories": CATEGORIES,
        "annotations": [
            {
                "id": number, "image_id": image, "category_id": category, "bbox": list(box), "iscrowd": crowd,
                "area": box[2] * box[3], "segmentation": rectangle(box),
            }
            for number, (image, category, box, crowd) in enumerate(annotations, start=11)
        ],
    }  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def make_result(image, category, box, score):
    """A COCO result with box and mask."""
    return {
        "image_id": image, "category_id": category, "bbox": list(box), "score": score, "segmentation": rectangle(box),
    }  # fmt: skip


def one_of_each():
    """(annotations, results): a mistake of each kind by its name, in `make_coco`'s and `make_result`'s arguments.

    car 0 is found twice; car 1 at a wrong place (IoU 1/3); dog 2 is taken for a car; dog 3 too, at a wrong place (IoU
    1/3), so it is missed; car 4 is found last of all, behind a car where nothing is; car 5 is missed.
    """
    annotations = [
        (5, CAR, (0, 0, 40, 40), 0),
        (5, CAR, (100, 0, 40, 40), 0),
        (5, DOG, (0, 100, 40, 40), 0),
        (5, DOG, (100, 100, 40, 40), 0),
        (5, CAR, (50, 150, 40, 40), 0),
        (5, CAR, (150, 50, 30, 30), 0),
    ]
    results = {
        "right": (5, CAR, (0, 0, 40, 40), 0.9),
        "duplicate": (5, CAR, (0, 0, 40, 40), 0.8),
        "location": (5, CAR, (100, 20, 40, 40), 0.7),
        "class": (5, CAR, (0, 100, 40, 40), 0.6),
        "both": (5, CAR, (100, 120, 40, 40), 0.5),
        "background": (5, CAR, (160, 160, 30, 30), 0.4),
        "right, last": (5, CAR, (50, 150, 40, 40), 0.3),
    }
    return annotations, results


def random_case(seed=0, objects=8, crowds=True):
    """Annotations in three images, and results that are these shaken, others' classes, and noise; scores all differ."""
    random = np.random.default_rng(seed)
    annotations, results = [], []
    for image in (5, 6, 9):
        for _ in range(objects):
            corner, side = random.integers(0, 80, 2), random.choice([15, 50, 110]) + random.integers(-3, 4, 2)
            box = np.concatenate([corner, side])
            category = int(random.choice([CAR, DOG]))
            annotations.append((image, category, box.tolist(), int(crowds and random.random() < 0.2)))
            for spread in (1, 4, 15):
                x, y, width, height = (box + random.normal(0, spread, 4)).round().astype(int).clip(1, 99).tolist()
                guess = int(random.choice([category, category, CAR, DOG, UNICORN]))
                results.append(make_result(image, guess, (x, y, width, height), float(random.random())))
    return annotations, results
