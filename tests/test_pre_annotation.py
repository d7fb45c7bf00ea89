"""Detections as annotations, and the queue of pictures, by hand."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_api

from keras_mrcnn.pre_annotation import QueueEntry, annotations_from, uncertainty, unique_names, write_queue


def result(mask=None, score=0.9, image_id=7):
    """A COCO result, whose box is a bit off its mask."""
    made = {"image_id": image_id, "category_id": 3, "bbox": [1.5, 1.5, 10.0, 10.0], "score": score}
    if mask is not None:
        code = mask_api.encode(np.asfortranarray(mask, dtype=np.uint8))
        made["segmentation"] = {"size": list(code["size"]), "counts": code["counts"].decode("ascii")}
    return made


def disc(radius, side=60):
    y, x = np.mgrid[:side, :side] + 0.5 - side / 2
    return x**2 + y**2 <= radius**2


def iou(annotation, mask):
    code = mask_api.merge(mask_api.frPyObjects(annotation["segmentation"], *mask.shape))
    return mask_api.iou([code], [mask_api.encode(np.asfortranarray(mask, dtype=np.uint8))], [0])[0, 0]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([], 0), ([1.0, 0.0], 0), ([0.5], 1), ([0.5, 0.5, 0.5], 3), ([0.9], 0.04), ([0.1, 0.75], 0.29)],
)
def test_uncertainty(scores, expected):
    assert uncertainty(scores) == pytest.approx(expected)


def test_detections_from_the_least_score_on():
    results = [result(score=score) for score in (0.9, 0.5, 0.49)]
    made = annotations_from(results, 0.5)
    assert [(item["id"], item["score"], item["iscrowd"]) for item in made] == [(1, 0.9, 0), (2, 0.5, 0)]
    assert made[0] == {**result(), "id": 1, "iscrowd": 0, "segmentation": [], "area": 100.0}
    assert annotations_from([], 0.5) == []


def test_rectangle_keeps_its_corners():
    mask = np.zeros((60, 60))
    mask[10:40, 20:50] = 1
    (item,) = annotations_from([result(mask)], 0.5)
    assert item["bbox"] == [20, 10, 30, 30] and item["area"] == 900
    assert iou(item, mask) == 1.0 and len(item["segmentation"][0]) <= 16


@pytest.mark.parametrize("radius", [3, 8, 25])
def test_outlines_have_few_points(radius):
    (item,) = annotations_from([result(disc(radius))], 0.5)
    (polygon,) = item["segmentation"]
    assert iou(item, disc(radius)) > 0.95 and len(polygon) // 2 <= 24


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (2, 1)])
def test_smallest_masks(shape):
    mask = np.zeros((8, 9))
    mask[2 : 2 + shape[0], 3 : 3 + shape[1]] = 1
    (item,) = annotations_from([result(mask)], 0.5)
    assert len(item["segmentation"][0]) >= 6 and iou(item, mask) == 1.0


def test_parts_are_polygons_and_holes_stay_codes():
    parts = np.zeros((60, 60))
    parts[2:10, 2:10] = parts[30:40, 20:30] = 1
    ring = disc(20) & ~disc(8)
    two, holed = annotations_from([result(parts), result(ring)], 0.5)
    assert len(two["segmentation"]) == 2
    np.testing.assert_array_equal(mask_api.decode(holed["segmentation"]), ring)


def test_empty_mask_has_its_box():
    (item,) = annotations_from([result(np.zeros((20, 20)))], 0.5)
    assert item["segmentation"] == [] and item["bbox"] == [1.5, 1.5, 10.0, 10.0] and item["area"] == 100


@given(st.lists(st.sampled_from(["a.jpg", "a.png", "a_2.jpg", "b/a.jpg", "a.tar.gz", "a"]), max_size=12))
@settings(deadline=None)
def test_names_are_unique_without_their_suffix(names):
    unique = unique_names(names)
    stems = [name.rpartition(".")[0] if "." in name else name for name in unique]
    assert len(set(stems)) == len(names)
    assert all(new == old for old, new in zip(names[:1], unique))


def test_queue(tmp_path):
    entries = [
        QueueEntry("b.jpg", 0.25, 1, "labelme/b.json"),
        QueueEntry("ü, 1.jpg", 1.5, 0, ""),
        QueueEntry("a.jpg", 0.25, 2, "labelme/a.json"),
    ]
    write_queue(tmp_path / "queue.csv", entries)
    rows = list(csv.DictReader((tmp_path / "queue.csv").read_text("utf-8").splitlines()))
    assert [row["file"] for row in rows] == ["ü, 1.jpg", "a.jpg", "b.jpg"]
    assert rows[1] == {
        "rank": "2", "file": "a.jpg", "uncertainty": "0.2500", "detections": "2", "annotations": "labelme/a.json",
    }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["queue.csv"]


def test_empty_queue(tmp_path):
    write_queue(tmp_path / "queue.csv", [])
    assert (tmp_path / "queue.csv").read_text("utf-8").split() == ["rank,file,uncertainty,detections,annotations"]
