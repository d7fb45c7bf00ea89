"""Measures what is left of annotations on the way through other formats.

Each split of each data set is read, written as COCO, LabelMe and YOLO-seg, and read again from there. Objects belong
together by image and class, best IoU first. Two tables are printed as Markdown: what was read, and what came back.

    python scripts/measure_formats.py coco-mini balloon formats/labelme-json/primitives
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter, defaultdict
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from pycocotools import mask as mask_api

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.tables import markdown_table
from keras_mrcnn.data.formats import Annotations, CrowdQuestion, find_splits, read_annotations
from keras_mrcnn.data.formats.writing import WRITTEN_FORMATS, write_annotations

READ_COLUMNS = ("source", "format", "images", "objects", "crowd regions", "left out", "remarks")
TRIP_COLUMNS = (
    "source", "by way of", "masks in", "masks out", "lowest IoU", "mean IoU", "identical", "unmatched", "boxes in",
    "crowds in", "crowds out", "left out",
)  # fmt: skip


class Trip(NamedTuple):
    """What came back of one split: the IoU of each mask with its source, and the numbers of masks in and out."""

    ious: list[float]
    masks_in: int
    masks_out: int


def masks_of(content: dict, iscrowd: int) -> dict[tuple[str, str], list[dict]]:
    """Returns the run-length codes of all masks by image name and class."""
    images = {image["id"]: image for image in content["images"]}
    names = {category["id"]: category["name"] for category in content["categories"]}
    masks = defaultdict(list)
    for item in content["annotations"]:
        segmentation = item.get("segmentation")
        if segmentation and item.get("iscrowd", 0) == iscrowd:
            image = images[item["image_id"]]
            size = image["height"], image["width"]
            name = PurePosixPath(image["file_name"])
            key = "/".join(part for part in name.parts if part != "images"), names[item["category_id"]].strip()
            masks[key].append(code_of(segmentation, *size))
    return masks


def code_of(segmentation: list | dict, height: int, width: int) -> dict:
    """Returns a segmentation as a compressed run-length code."""
    if isinstance(segmentation, list):
        return mask_api.merge(mask_api.frPyObjects(segmentation, height, width))
    return (
        mask_api.frPyObjects(segmentation, height, width) if isinstance(segmentation["counts"], list) else segmentation
    )


def compare(before: dict, after: dict, iscrowd: int = 0) -> Trip:
    """Matches the masks before and after, and measures their IoUs."""
    old, new = masks_of(before, iscrowd), masks_of(after, iscrowd)
    ious = []
    for key, codes in old.items():
        matrix = np.asarray(mask_api.iou(new.get(key, []), codes, [0] * len(codes)), np.float64)
        matrix = matrix.reshape(len(new.get(key, [])), len(codes))
        while matrix.size and matrix.max() >= 0:
            row, column = np.unravel_index(matrix.argmax(), matrix.shape)
            ious.append(float(matrix[row, column]))
            matrix[row], matrix[:, column] = -1, -1
    return Trip(ious, sum(map(len, old.values())), sum(map(len, new.values())))


def read_splits(source: Path, rows: list) -> dict[str, Annotations]:
    """Reads every split of a source and adds a row for each to the first table."""
    found = {}
    try:
        splits = list(find_splits(source))
    except UserError as error:
        rows.append((source.name, "", None, None, None, "", f"refused: {error}"))
        return found
    for split in splits:
        name = f"{source.parent.name}/{source.name} {split}".strip()
        crowds = "ask"
        try:
            part = read_annotations(source, split=split or None)
        except CrowdQuestion as question:
            rows.append((name, "coco", None, None, None, "", f"asks: {question}"))
            crowds, part = "objects", read_annotations(source, split=split or None, crowds="objects")
        except UserError as error:
            rows.append((name, "", None, None, None, "", f"refused: {error}"))
            try:
                part = read_annotations(source, split=split or None, skip_missing=True)
            except UserError:
                continue
        items = part.content["annotations"]
        num_crowds = sum(bool(item.get("iscrowd")) for item in items)
        counts = len(part.content["images"]), len(items) - num_crowds, num_crowds
        remark = "as objects. " * (crowds == "objects") + "; ".join(part.notes)
        rows.append((name, part.format, *counts, reasons(part.skipped), remark))
        found[name] = part
    return found


def trip_row(name: str, part: Annotations, target: str) -> tuple:
    """Returns the row of the second table for a split and a format."""
    boxes = sum(not item.get("segmentation") for item in part.content["annotations"])
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        try:
            report = write_annotations(part.content, part.image_folder, out, target)
            back = read_annotations(out, crowds="regions")
        except UserError as error:
            return (name, target, *[None] * 9, f"refused: {str(error).replace(folder, '')}")
    objects, crowds = compare(part.content, back.content), compare(part.content, back.content, 1)
    ious = np.array(objects.ious)
    lowest, mean = (f"{ious.min():.4f}", f"{ious.mean():.6f}") if len(ious) else (None, None)
    left_out = reasons(Counter(report.skipped) + Counter(back.skipped))
    return (
        name, target, objects.masks_in, objects.masks_out, lowest, mean, int((ious == 1).sum()),
        objects.masks_in - len(ious), boxes, crowds.masks_in, crowds.masks_out, left_out,
    )  # fmt: skip


def reasons(skipped: dict[str, int]) -> str:
    """Returns counts by reason as text."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))


def main() -> None:
    """Prints the two tables for the data sets on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path)
    arguments = parser.parse_args()
    rows: list[tuple] = []
    parts = {name: part for source in arguments.sources for name, part in read_splits(source, rows).items()}
    print(markdown_table(READ_COLUMNS, rows) + "\n")
    trips = [trip_row(name, part, target) for name, part in parts.items() for target in WRITTEN_FORMATS]
    print(markdown_table(TRIP_COLUMNS, trips))


if __name__ == "__main__":
    main()
