"""COCO's classes under their numbers, checked against a list of the holes and against COCO's own annotations."""

from __future__ import annotations

import json

from keras_mrcnn.weights.coco_classes import COCO_CLASS_NAMES

HOLES = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


def test_ninety_numbers_of_which_ten_are_holes():
    assert len(COCO_CLASS_NAMES) == 90
    assert {number for number, name in enumerate(COCO_CLASS_NAMES, start=1) if name == "N/A"} == HOLES
    assert len(set(COCO_CLASS_NAMES)) == 81


def test_some_by_hand():
    assert {number: COCO_CLASS_NAMES[number - 1] for number in (1, 11, 13, 44, 46, 90)} == {
        1: "person", 11: "fire hydrant", 13: "stop sign", 44: "bottle", 46: "wine glass", 90: "toothbrush",
    }  # fmt: skip


def test_every_class_is_that_of_the_annotations(coco_mini):
    content = json.loads((coco_mini / "annotations" / "instances_val.json").read_text("utf-8"))
    categories = {category["id"]: category["name"] for category in content["categories"]}
    assert len(categories) == 80
    named = {number: name for number, name in enumerate(COCO_CLASS_NAMES, start=1) if name != "N/A"}
    assert named == categories
