"""Statistics of a data set without a model, by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import tiny_content

from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.data.statistics import SPLIT_COLUMNS, class_rows, dataset_statistics, split_row, statistics_json


@pytest.fixture
def found():
    return dataset_statistics(CocoDataset(tiny_content(), "images"))


def test_what_is_in_a_data_set(found):
    assert found.class_names == ("kite", "dog") and found.num_crowds == 1
    assert found.image_sizes.tolist() == [[40, 60], [64, 48], [40, 60], [50, 50]]
    assert found.objects_per_image.tolist() == [2, 1, 1, 0]
    assert found.objects_per_class.tolist() == [2, 2] and found.images_per_class.tolist() == [2, 2]
    assert found.areas.tolist() == [400, 100, 900, 400] and found.size_groups.tolist() == [0, 0, 0, 0]
    assert found.boxes[1].tolist() == [40, 5, 50, 15] and found.box_sides.tolist() == [20, 10, 30, 20]


def test_boxes_are_clipped_and_those_without_area_left_out():
    content = tiny_content()
    content["annotations"][0]["bbox"] = [50, 30, 40, 40]  # of 60 x 40 px, 10 x 10 are left
    content["annotations"][1]["bbox"] = [70, 5, 10, 10]
    found = dataset_statistics(CocoDataset(content, "images"))
    assert found.objects_per_image.tolist() == [1, 1, 1, 0] and found.box_sides[0] == 10


def test_sizes_are_those_of_coco():
    content = tiny_content()
    for annotation, area in zip(content["annotations"], (1023, 1024, 96**2 - 1)):
        annotation["area"] = area
    assert dataset_statistics(CocoDataset(content, "images")).size_groups.tolist() == [0, 1, 1, 0]


def test_row_of_a_split(found):
    row = dict(zip(SPLIT_COLUMNS, split_row("train", found)))
    assert row == {
        "data": "train", "images": 4, "without objects": 1, "objects": 4, "crowds": 1, "objects an image": 1.0,
        "most in one": 2, "widths, px": "48 to 60", "heights, px": "40 to 64",
    }  # fmt: skip


def test_rows_of_classes_of_splits_with_other_classes(found):
    dogs = {**tiny_content(), "annotations": tiny_content()["annotations"][:1]}
    other = dataset_statistics(CocoDataset(dogs, "images", ["dog"]))
    rows, total = class_rows({"a": found, "b": other}, {"a": found.box_sides, "b": other.box_sides})
    assert rows == [["kite", 2, 2, 20.0, 0, 0, None], ["dog", 2, 2, 20.0, 1, 1, 20.0]]
    assert total == ["all", 4, 3, 20.0, 1, 1, 20.0]


def test_json(found):
    values = statistics_json(found)
    assert json.loads(json.dumps(values)) == values
    assert {key: values[key] for key in ("images", "without_objects", "objects", "crowds")} == {
        "images": 4, "without_objects": 1, "objects": 4, "crowds": 1,
    }  # fmt: skip
    assert values["sizes"] == {"small": 4, "medium": 0, "large": 0}
    assert values["classes"][0] == {"name": "kite", "objects": 2, "images": 2, "median_side": 20.0}
    quantiles = values["quantiles"]
    assert quantiles["at"] == [0.0, 0.1, 0.5, 0.9, 1.0] and quantiles["box_sides"][::2] == [10, 20, 30]
    np.testing.assert_allclose(quantiles["widths"], [48, 48.6, 55, 60, 60])


def test_nothing():
    for images in (tiny_content()["images"], []):
        content = {**tiny_content(), "annotations": [], "images": images}
        found = dataset_statistics(CocoDataset(content, "images"))
        assert found.objects_per_image.tolist() == [0] * len(images) and len(found.box_sides) == 0
        assert found.objects_per_class.tolist() == found.images_per_class.tolist() == [0, 0]
        values = statistics_json(found)
        assert values["quantiles"]["box_sides"] is None and (values["quantiles"]["widths"] is None) == (not images)
        assert values["classes"][1] == {"name": "dog", "objects": 0, "images": 0, "median_side": None}
        assert class_rows({"a": found}, {"a": found.box_sides})[1] == ["all", 0, 0, None]
