"""YOLO-seg data sets: lines by hand, every mask back, and what Ultralytics needs to find labels."""

from __future__ import annotations

import os

import numpy as np
import pytest
import yaml
from data.formats.made_content import (
    annotation,
    code_of,
    links,
    made_content,
    mask_of,
    masks_of,
    square,
    write_pictures,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mrcnn.data.formats.writing import write_annotations
from keras_mrcnn.data.formats.writing.yolo import NO_VAL, fraction_text


def label_lines(folder, name="b"):
    """Class and polygon in pixels of each line of a label file."""
    lines = (folder / "labels" / "train" / f"{name}.txt").read_text("utf-8").splitlines()
    rows = [list(map(float, line.split())) for line in lines]
    return [(int(row[0]), (np.reshape(row[1:], (-1, 2)) * [17, 12])) for row in rows]


def test_data_set_for_ultralytics(tmp_path):
    content = made_content()
    pictures = write_pictures(content, tmp_path / "pictures")
    report = write_annotations(content, pictures, tmp_path / "out", "yolo")
    assert report[2:] == (3, 5, 0, {"crowd region": 1}, (NO_VAL,))
    text = (tmp_path / "out" / "dataset.yaml").read_text("utf-8")
    assert yaml.safe_load(text) == {
        "path": str(tmp_path / "out"), "train": "images/train", "names": {0: "traffic light", 1: "dög"},
    }  # fmt: skip
    found = links(tmp_path / "out")
    assert sorted(found) == [f"images/train/{name}" for name in ("b.jpg", "empty.jpg", "straße 1/ünïcode ü.png")]
    # The folder must not be a link: Ultralytics follows it, and then looks for labels beside the originals.
    assert not (tmp_path / "out" / "images" / "train").is_symlink()
    for name in found:
        path = str(tmp_path / "out" / name)
        label = f"{os.sep}labels{os.sep}".join(path.rsplit(f"{os.sep}images{os.sep}", 1)).rpartition(".")[0] + ".txt"
        assert os.path.isfile(label)
    assert label_lines(tmp_path / "out", "empty") == []


def test_every_mask_comes_back_in_one_polygon(tmp_path):
    content = made_content()
    write_annotations(content, tmp_path, tmp_path / "out", "yolo")
    names = {0: "traffic light", 1: "dög"}
    found = {}
    for label, points in label_lines(tmp_path / "out"):
        assert (points >= 0).all() and (points <= [17, 12]).all()
        found.setdefault(("b.jpg", names[label], False), []).append(mask_of([points.ravel().tolist()], 12, 17))
    expected = {key: value for key, value in masks_of(content).items() if key[0] == "b.jpg" and not key[2]}
    assert found.keys() == expected.keys()
    for key, masks in expected.items():
        np.testing.assert_array_equal(found[key], masks)


def test_one_polygon_keeps_its_points(tmp_path):
    write_annotations(made_content(), tmp_path, tmp_path / "out", "yolo")
    assert label_lines(tmp_path / "out")[0][1].tolist() == [[1.1, 1.3], [5.7, 1.9], [3.3, 6.1]]


@pytest.mark.parametrize(
    "segmentation",
    [
        [square(1, 1, 5), square(3, 3, 5)],  # parts that overlap
        [[-3, -2, 8, 1, 4, 20]],  # corners outside the image
        [[2, 2, 9, 2, 2, 9, 9, 9]],  # a line that crosses itself
        [[3, 3, 4, 3, 4, 4, 3, 4], [3.2, 3.2, 3.3, 3.2, 3.3, 3.3]],  # a part that covers no pixel
    ],
)
def test_polygons_that_one_polygon_may_not_say(tmp_path, segmentation):
    content = {**made_content(), "annotations": [annotation(1, segmentation)]}
    write_annotations(content, tmp_path, tmp_path / "out", "yolo")
    ((_, points),) = label_lines(tmp_path / "out")
    assert (points >= 0).all() and (points <= [17, 12]).all()
    np.testing.assert_array_equal(mask_of([points.ravel().tolist()], 12, 17), mask_of(segmentation, 12, 17))


def test_what_the_format_cannot_hold_is_counted(tmp_path):
    objects = [
        annotation(1, []),
        annotation(2, code_of(np.zeros((12, 17)))),
        annotation(3, [[1, 1, 1.1, 1, 1.1, 1.1]]),
        annotation(4, [square(1, 1, 3)], score=0.5),
        annotation(5, [square(1, 1, 3)], iscrowd=1),
    ]
    content = {**made_content(), "annotations": objects}
    report = write_annotations(content, write_pictures(content, tmp_path / "pictures"), tmp_path / "out", "yolo")
    assert report.skipped == {
        "score": 1, "object without a mask": 1, "object whose mask is empty": 2, "crowd region": 1,
    }  # fmt: skip
    assert (report.objects, report.crowds) == (1, 0) and len(label_lines(tmp_path / "out")) == 1


def test_folders_called_images_are_left_out_of_the_names(tmp_path):
    content = made_content()
    content["images"][0]["file_name"] = "images/a/images/b.jpg"
    write_annotations(content, write_pictures(content, tmp_path / "pictures"), tmp_path / "out", "yolo")
    assert (tmp_path / "out" / "labels" / "train" / "a" / "b.txt").is_file()
    assert "images/train/a/b.jpg" in links(tmp_path / "out")


def test_no_classes_and_no_images(tmp_path):
    empty = {"images": [], "annotations": [], "categories": []}
    write_annotations(empty, tmp_path, tmp_path / "out", "yolo")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dataset.yaml"]


@given(st.integers(1, 5000), st.integers(0, 500_000))
@settings(deadline=None)
def test_fractions_give_hundredths_of_pixels_back(side, hundredths):
    value = hundredths / 100 % side
    text = fraction_text(value, side)
    product = float(text) * side
    assert "e" not in text and value <= product <= value + 2 * np.spacing(value)
    assert int(5 * product + 0.5) == int(5 * value + 0.5)  # as pycocotools rounds it


@pytest.mark.parametrize("side", [1, 427, 640, 5000])
def test_fractions_of_the_edges(side):
    assert (fraction_text(0, side), fraction_text(0.0, side), fraction_text(side, side)) == ("0", "0", "1")
