"""Annotations written in each format and read again: the same objects, pixel for pixel."""

from __future__ import annotations

import numpy as np
import pytest
from data.formats.made_content import annotation, code_of, made_content, masks_of, square, write_pictures
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from keras_mrcnn.data.formats import detect_format, find_splits, read_annotations
from keras_mrcnn.data.formats.writing import WRITTEN_FORMATS, folder_part, write_annotations, write_dataset

everywhere = pytest.mark.parametrize("format", WRITTEN_FORMATS)
ANY_MASK = arrays(np.uint8, (12, 17), elements=st.integers(0, 1)).filter(np.any)


def there_and_back(content, folder, format):
    """What is read from a written data set."""
    pictures = write_pictures(content, folder / "my pictures")
    write_annotations(content, pictures, folder / "öut 1", format)
    assert detect_format(folder / "öut 1") == format
    return read_annotations(folder / "öut 1")


def assert_same_masks(before, after, with_crowds=True):
    old = {key: masks for key, masks in masks_of(before).items() if with_crowds or not key[2]}
    new = masks_of(after)
    assert new.keys() == old.keys()
    for key, masks in old.items():
        np.testing.assert_array_equal(new[key], masks)


@everywhere
def test_objects_come_back(tmp_path, format):
    content = made_content()
    found = there_and_back(content, tmp_path, format)
    assert found.format == format and found.skipped == {}
    assert_same_masks(content, found.content, with_crowds=format != "yolo")
    assert {category["name"] for category in found.content["categories"]} == {"dög", "traffic light"}
    for image in found.content["images"]:
        assert (found.image_folder / image["file_name"]).is_file() and (image["height"], image["width"]) == (12, 17)
    assert len(found.content["images"]) == 3


@everywhere
def test_parts_come_back(tmp_path, format):
    first, second = made_content(), made_content()
    second["annotations"] = second["annotations"][:1]
    pictures = write_pictures(first, tmp_path / "pictures")
    parts = {"train": folder_part(first, pictures), "val": folder_part(second, pictures)}
    write_dataset(parts, tmp_path / "out", format)
    assert list(find_splits(tmp_path / "out")) == ["train", "val"]
    for split, content in (("train", first), ("val", second)):
        found = read_annotations(tmp_path / "out", split=split)
        assert_same_masks(content, found.content, with_crowds=format != "yolo")


@everywhere
def test_images_without_objects_come_back(tmp_path, format):
    found = there_and_back({**made_content(), "annotations": []}, tmp_path, format)
    assert len(found.content["images"]) == 3 and found.content["annotations"] == []


@everywhere
def test_two_ways_lead_to_the_same(tmp_path, format):
    content = made_content()
    content["annotations"] = [item for item in content["annotations"] if not item["iscrowd"]]
    once = there_and_back(content, tmp_path, format)
    write_annotations(once.content, once.image_folder, tmp_path / "again", format)
    assert read_annotations(tmp_path / "again").content == once.content


@everywhere
def test_folder_may_move_with_its_pictures(tmp_path, format):
    content = {**made_content(), "annotations": made_content()["annotations"][:2]}
    there_and_back(content, tmp_path / "old", format)
    (tmp_path / "old").rename(tmp_path / "new")
    found = read_annotations(tmp_path / "new" / "öut 1")
    assert_same_masks(content, found.content)
    assert all((found.image_folder / image["file_name"]).is_file() for image in found.content["images"])


def test_box_becomes_a_rectangle_and_stays_one(tmp_path):
    box = annotation(1, [], bbox=[2, 3, 5, 4])
    found = there_and_back({**made_content(), "annotations": [box]}, tmp_path, "labelme")
    (item,) = found.content["annotations"]
    assert item["bbox"] == [2, 3, 5, 4] and item["area"] == 20


@given(ANY_MASK, st.sampled_from(WRITTEN_FORMATS))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_mask_comes_back(tmp_path_factory, mask, format):
    content = {**made_content(), "annotations": [annotation(1, code_of(mask))]}
    found = there_and_back(content, tmp_path_factory.mktemp("trip"), format)
    assert_same_masks(content, found.content)


@given(st.lists(st.lists(st.integers(-40, 240), min_size=6, max_size=12), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_any_polygons_come_back(tmp_path_factory, numbers):
    polygons = [[value / 10 for value in polygon[: len(polygon) // 2 * 2]] for polygon in numbers]
    content = {**made_content(), "annotations": [annotation(1, polygons + [square(1, 1, 2)])]}
    for format in WRITTEN_FORMATS:
        found = there_and_back(content, tmp_path_factory.mktemp("trip"), format)
        assert_same_masks(content, found.content)
