"""The parts of a data set, such as train and val, checked and with the same categories, as they are written."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.records import FAULT_OF
from keras_mrcnn.data.segmentations import malformed_segmentation

UNNAMED = "train"  # the name of a part that has none, where a format needs one


class Part(NamedTuple):
    """A part of a data set.

    Args:
        content: content of a COCO file: a dict with images, annotations and categories.
        pictures: path of the picture file of each image id; images without one have no file.
    """

    content: dict
    pictures: Mapping[int, Path]


def folder_part(content: dict, image_folder: Path) -> Part:
    """Makes the part whose pictures lie in one folder.

    Args:
        content: content of a COCO file.
        image_folder: folder that the file names are relative to.

    Returns:
        `Part` with the pictures that exist.

    Raises:
        UserError: an image has no id or no file name.
    """
    _check_records(content, "images")
    paths = {image["id"]: Path(image_folder, image["file_name"]) for image in content["images"]}
    return Part(content, {image_id: path for image_id, path in paths.items() if os.path.isfile(path)})


def checked_parts(parts: Mapping[str, Part], skipped: Counter) -> dict[str, Part]:
    """Checks the records of all parts, and gives all of them the same categories.

    Categories of all parts belong together by name. Where two parts number them in different ways, all get new numbers
    from 1 in order of first appearance.

    Args:
        parts: the parts by name.
        skipped: counts the annotations that are left out because their image or category does not exist.

    Returns:
        The parts by name, with new contents; those given stay as they are.

    Raises:
        UserError: a record is malformed, or an id or a name is there twice.
    """
    for part in parts.values():
        check_content(part.content)
    categories = _same_categories([part.content["categories"] for part in parts.values()])
    numbers = {category["name"]: category["id"] for category in categories}
    return {name: _with_categories(part, categories, numbers, skipped) for name, part in parts.items()}


def check_content(content: dict) -> None:
    """Checks the records of the content of a COCO file.

    Raises:
        UserError: a list is missing, a record is malformed, or an id or a name is there twice.
    """
    for name in FAULT_OF:
        _check_records(content, name)
    for name, key, noun in (("images", "id", "image id"), ("categories", "id", "category id"),
                            ("categories", "name", "category name")):  # fmt: skip
        value, count = next(iter(Counter(record[key] for record in content[name]).most_common(1)), (None, 0))
        if count > 1:
            raise UserError(f"the {noun} {value} is there {count} times in the annotations; give each its own")
    images = {image["id"]: image for image in content["images"]}
    for annotation in content["annotations"]:
        image, segmentation = images.get(annotation["image_id"]), annotation.get("segmentation")
        if image is None or segmentation in (None, []):
            continue
        fault = malformed_segmentation(segmentation, image["height"], image["width"])
        if fault:
            raise UserError(
                f"the segmentation of annotation {annotation['id']} of image {image['file_name']} cannot be written "
                f"({fault}); correct it, or leave the annotation out"
            )


def _check_records(content: dict, name: str) -> None:
    """Raises UserError if a list of the content is missing or has a malformed record."""
    if not isinstance(content, dict) or not isinstance(content.get(name), list):
        raise UserError(f"the annotations have no list '{name}'; give the content of a COCO file")
    for row, record in enumerate(content[name], start=1):
        fault = FAULT_OF[name](record)
        if fault:
            raise UserError(f"entry {row} of '{name}' in the annotations {fault}; correct it")


def _same_categories(lists: list[list[dict]]) -> list[dict]:
    """Returns the categories of all parts, each name once, with new ids if the parts do not agree."""
    by_name: dict[str, dict] = {}
    for categories in lists:
        for category in categories:
            by_name.setdefault(category["name"], category)
    everywhere = {(category["name"], category["id"]) for categories in lists for category in categories}
    if len(everywhere) == len(by_name) == len({number for _, number in everywhere}):
        return sorted(by_name.values(), key=lambda category: category["id"])
    return [{**category, "id": number} for number, category in enumerate(by_name.values(), start=1)]


def _with_categories(part: Part, categories: list[dict], numbers: dict[str, int], skipped: Counter) -> Part:
    """Returns a part whose annotations have the given categories, without those that belong nowhere."""
    new_ids = {category["id"]: numbers[category["name"]] for category in part.content["categories"]}
    image_ids = {image["id"] for image in part.content["images"]}
    kept = []
    for annotation in part.content["annotations"]:
        if annotation["image_id"] not in image_ids:
            skipped["annotation of an image that is not listed"] += 1
        elif annotation["category_id"] not in new_ids:
            skipped["annotation of a category that is not listed"] += 1
        else:
            kept.append({**annotation, "category_id": new_ids[annotation["category_id"]]})
    return Part({**part.content, "annotations": kept, "categories": categories}, part.pictures)
