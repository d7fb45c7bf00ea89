"""Measures how many planted label errors `keras-mrcnn data suspects` ranks first.

A share of the objects is spoilt in each of three ways, each object in one way at most: their annotations are removed,
get another class, or get a bad mask. A bad mask is moved by a third of its box, shrunk to 60 % of its sides, or
replaced by its box, in equal parts. Then the command runs, and of each kind as many of the first suspects are counted
as errors were planted: the precision is the share of planted errors among them. For a missing object, the boxes of the
detection and of the removed annotation must have an IoU of 0.5 or more. Errors that the data had before count as wrong.

    python scripts/measure_suspects.py scenes/annotations/train.json scenes/images/train OUT --weights demo.safetensors
    python scripts/measure_suspects.py scenes/annotations/train.json scenes/images/train OUT --folds 2 \\
        --preset scenes-small

What follows OUT goes to the command as it is. OUT/planted.json has the annotations with the errors, OUT/found has what
the command writes, and OUT/precision.json has the figures.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from keras_mrcnn.base.iou import box_iou
from keras_mrcnn.base.tables import text_table
from keras_mrcnn.cli import main as keras_mrcnn
from keras_mrcnn.data.coco import index_annotations, load_annotations

KINDS = ("missing", "class", "mask")
SPOILT_MASKS = ("moved", "shrunk", "box")
MOVED, SHRUNK = 1 / 3, 0.6  # of the sides of the box
SAME_OBJECT_IOU = 0.5


def plant(content: dict, share: float, seed: int) -> tuple[dict, dict[str, dict[int, dict]]]:
    """Spoils a share of the objects in each way.

    Args:
        content: content of a COCO file.
        share: of the objects, for each kind.
        seed: of the choice of the objects and of what becomes of them.

    Returns:
        The content with the errors, and for each kind a dict of annotation id to the annotation as it was; of a bad
        mask, with the field "way".
    """
    random = np.random.default_rng(seed)
    coco = index_annotations(content)
    objects = [item for item in content["annotations"] if not item.get("iscrowd") and item.get("segmentation")]
    count = round(share * len(objects))
    chosen = [objects[row] for row in random.permutation(len(objects))[: count * len(KINDS)]]
    planted = {kind: chosen[number :: len(KINDS)] for number, kind in enumerate(KINDS)}
    planted["mask"] = [{**item, "way": way} for item, way in zip(planted["mask"], itertools.cycle(SPOILT_MASKS))]
    category_ids = [category["id"] for category in content["categories"]]
    spoilt: dict[int, dict | None] = {item["id"]: None for item in planted["missing"]}
    for item in planted["class"]:
        others = [number for number in category_ids if number != item["category_id"]]
        spoilt[item["id"]] = {**item, "category_id": others[random.integers(len(others))]}
    for item in planted["mask"]:
        spoilt[item["id"]] = {**item, **bad_mask(coco.annToMask(item), item["way"], random)}
    annotations = [spoilt.get(item["id"], item) for item in content["annotations"]]
    kept = {**content, "annotations": [item for item in annotations if item is not None]}
    return kept, {kind: {item["id"]: item for item in items} for kind, items in planted.items()}


def bad_mask(mask: np.ndarray, way: str, random: np.random.Generator) -> dict:
    """Returns segmentation, box and area of an annotation whose mask, uint8 [H, W], is spoilt in one way."""
    x, y, width, height = (int(value) for value in coco_mask.toBbox(coco_mask.encode(np.asfortranarray(mask))))
    part, (rows, columns) = mask[y : y + height, x : x + width], mask.shape
    if way == "box":
        part = np.ones_like(part)
    elif way == "shrunk":
        size = max(round(width * SHRUNK), 1), max(round(height * SHRUNK), 1)
        part = np.asarray(Image.fromarray(part).resize(size, Image.Resampling.NEAREST))
        x, y = x + (width - size[0]) // 2, y + (height - size[1]) // 2
    else:  # away from the nearer edge of the image half of the time would leave nothing, so always towards the middle
        x += round(width * MOVED) * (1 if 2 * x + width < columns else -1)
        y += round(height * MOVED) * int(random.choice([-1, 1]))
    bad = np.zeros_like(mask)
    top, left = max(y, 0), max(x, 0)
    visible = part[top - y : rows - y, left - x : columns - x]
    bad[top : top + len(visible), left : left + visible.shape[1]] = visible
    if not bad.any():  # thinner than a pixel, or moved out of the image
        bad = np.zeros_like(mask)
        bad[min(max(y, 0), rows - 1), min(max(x, 0), columns - 1)] = 1
    code = coco_mask.encode(np.asfortranarray(bad))
    area, box = float(coco_mask.area(code)), coco_mask.toBbox(code).tolist()
    return {"segmentation": {**code, "counts": code["counts"].decode()}, "bbox": box, "area": area, "iscrowd": 0}


def count_hits(suspects: list[dict], planted: dict[str, dict[int, dict]]) -> dict[str, list[int]]:
    """Returns for each kind the ids of the planted errors among as many of the first suspects as were planted."""
    hits: dict[str, list[int]] = {}
    for kind, errors in planted.items():
        first = [row for row in suspects if row["kind"] == kind][: len(errors)]
        if kind == "missing":
            hits[kind] = _missing_hits(first, errors)
        else:
            hits[kind] = [row["annotation_id"] for row in first if row["annotation_id"] in errors]
    return hits


def _missing_hits(first: list[dict], removed: dict[int, dict]) -> list[int]:
    """Returns the ids of the removed annotations that suspects point to, each once."""
    hits: list[int] = []
    for row in first:
        there = [item for item in removed.values() if item["image_id"] == row["image_id"] and item["id"] not in hits]
        if there:
            ious = box_iou(_corners([row["proposed_bbox"]]), _corners([item["bbox"] for item in there]))[0]
            if ious.max() >= SAME_OBJECT_IOU:
                hits.append(there[int(ious.argmax())]["id"])
    return hits


def _corners(boxes_xywh: list[list[float]]) -> np.ndarray:
    boxes = np.array(boxes_xywh, float)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def figures(suspects: list[dict], planted: dict[str, dict[int, dict]], class_names: dict[int, str]) -> dict:
    """Returns what was planted and ranked first, for each kind."""
    hits = count_hits(suspects, planted)
    result = {}
    for kind, errors in planted.items():
        count = len(errors)
        result[kind] = {"planted": count, "hits": len(hits[kind]), "precision": len(hits[kind]) / max(count, 1)}
    proposed = {row["annotation_id"]: row["proposed_class"] for row in suspects if row["kind"] == "class"}
    right = sum(proposed[number] == class_names[planted["class"][number]["category_id"]] for number in hits["class"])
    result["class"]["right_class_proposed"] = right
    way_of = {number: item["way"] for number, item in planted["mask"].items()}
    every, of_hits = Counter(way_of.values()), Counter(way_of[number] for number in hits["mask"])
    result["mask"]["ways"] = {way: {"planted": every[way], "hits": of_hits[way]} for way in SPOILT_MASKS}
    return result


def main() -> None:
    """Plants errors, runs the command and prints the precision of each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=0.05, help="of the objects, for each kind")
    parser.add_argument("--plant-seed", type=int, default=0)
    arguments, options = parser.parse_known_args()
    content = load_annotations(arguments.annotations)
    class_names = {category["id"]: category["name"] for category in content["categories"]}
    spoilt, planted = plant(content, arguments.share, arguments.plant_seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    file, found = arguments.out / "planted.json", arguments.out / "found"
    file.write_text(json.dumps(spoilt))
    command = ["data", "suspects", file, found, "--images", arguments.images, "--min-score", 0, *options]
    keras_mrcnn([str(part) for part in command], standalone_mode=False)
    result = figures(json.loads((found / "suspects.json").read_text())["suspects"], planted, class_names)
    (arguments.out / "precision.json").write_text(json.dumps(result, indent=2))
    rows = [(kind, one["planted"], one["hits"], one["precision"]) for kind, one in result.items()]
    print(text_table([("errors", "planted", "hits", "precision"), *rows]))
    print(f"Of the wrong classes that were hit, {result['class']['right_class_proposed']} have the right one proposed.")
    for way, one in result["mask"]["ways"].items():
        print(f"Of the bad masks that were {way}, {one['hits']} of {one['planted']} were hit.")


if __name__ == "__main__":
    main()
