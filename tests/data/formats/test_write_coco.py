"""COCO files and folders: what stands in them, and the links to the pictures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from data.formats.made_content import annotation, links, made_content, masks_of, square, write_pictures

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.coco import CocoDataset, load_annotations
from keras_mrcnn.data.formats.writing import write_annotations


def test_folder_is_a_data_set(tmp_path):
    content, pictures = made_content(), write_pictures(made_content(), tmp_path / "my pictures")
    out = tmp_path / "deep" / "out"
    report = write_annotations(content, pictures, out, "coco")
    assert report == (out, "coco", 3, 5, 1, {}, ())
    by_number = sorted(content["categories"], key=lambda category: category["id"])
    assert load_annotations(out / "annotations" / "train.json") == {**content, "categories": by_number}
    assert links(out) == {
        f"images/train/{image['file_name']}": pictures / image["file_name"] for image in content["images"]
    }
    dataset = CocoDataset(out / "annotations" / "train.json", out / "images" / "train")
    assert dataset.load_image(7).shape == (12, 17, 3)


def test_one_record_on_each_line_in_the_order_of_the_content(tmp_path):
    content = made_content()
    write_annotations({"info": {"year": 2020}, **content}, tmp_path, tmp_path / "a.json", "coco")
    lines = (tmp_path / "a.json").read_text("utf-8").splitlines()
    assert lines[:3] == ["{", '"info": {"year": 2020},', '"images": [']
    assert [json.loads(line.rstrip(","))["id"] for line in lines if line.startswith('{"id"')][:3] == [3, 7, 9]
    write_annotations({"info": {"year": 2020}, **content}, tmp_path, tmp_path / "b.json", "coco")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_one_file_says_where_its_names_begin(tmp_path):
    report = write_annotations(made_content(), tmp_path, tmp_path / "a.json", "coco")
    assert report.path == tmp_path / "a.json" and "--images" in report.notes[0]
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_missing_fields_are_filled_in_and_scores_stay(tmp_path):
    content = made_content()
    short = {key: value for key, value in annotation(1, [square(1, 1, 3)]).items() if key not in ("area", "iscrowd")}
    content["annotations"] = [{**short, "score": 0.25}]
    write_annotations(content, tmp_path, tmp_path / "a.json", "coco")
    (written,) = load_annotations(tmp_path / "a.json")["annotations"]
    assert written == {**short, "score": 0.25, "iscrowd": 0, "area": 9.0}
    assert "area" not in content["annotations"][0]  # what was given stays


def test_counts_as_bytes(tmp_path):
    content = made_content()
    for item in content["annotations"]:
        if isinstance(item["segmentation"], dict):
            item["segmentation"]["counts"] = item["segmentation"]["counts"].encode()
    write_annotations(content, tmp_path, tmp_path / "a.json", "coco")
    written = masks_of(load_annotations(tmp_path / "a.json"))
    for key, masks in masks_of(made_content()).items():
        np.testing.assert_array_equal(written[key], masks)


def test_nothing_in_the_data_set(tmp_path):
    empty = {"images": [], "annotations": [], "categories": []}
    assert write_annotations(empty, tmp_path, tmp_path / "out", "coco")[2:5] == (0, 0, 0)
    assert load_annotations(tmp_path / "out" / "annotations" / "train.json") == empty


def test_numbers_that_json_lacks(tmp_path):
    content = made_content()
    content["annotations"][2]["attributes"] = {"angle": float("nan")}
    with pytest.raises(UserError, match="^an entry of 'annotations', id 5, holds a number that JSON does not have"):
        write_annotations(content, tmp_path, tmp_path / "out", "coco")
    assert list(tmp_path.iterdir()) == []
