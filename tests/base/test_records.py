"""Tests of keras_mrcnn.base.records."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from keras_mrcnn.base.records import Detections, GroundTruth


def make_detections(boxes, image_size=(40, 50), masks=None, seed=0):
    """Detections with random scores, ids and, unless given, random masks."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    random = np.random.default_rng(seed)
    count = len(boxes)
    ids = random.integers(1, 90, count).astype(np.int32)
    masks = random.random((count, 28, 28)) if masks is None else masks
    scores = random.random(count)
    return Detections(boxes, scores, ids, tuple(f"class {number}" for number in ids), masks, image_size)


def torchvision_paste(mask, box, height, width):
    """torchvision's paste_masks_in_image for one mask, pixel by pixel, from its formulas."""
    side = len(mask) + 2
    padded = np.pad(mask, 1)
    half_width, half_height = (box[2] - box[0]) * 0.5, (box[3] - box[1]) * 0.5
    centre_x, centre_y = (box[2] + box[0]) * 0.5, (box[3] + box[1]) * 0.5
    scale = np.float32(side / len(mask))
    x0, x1 = int(centre_x - half_width * scale), int(centre_x + half_width * scale)
    y0, y1 = int(centre_y - half_height * scale), int(centre_y + half_height * scale)
    box_width, box_height = max(x1 - x0 + 1, 1), max(y1 - y0 + 1, 1)
    pasted = np.zeros((height, width))
    for y in range(max(y0, 0), min(y1 + 1, height)):
        for x in range(max(x0, 0), min(x1 + 1, width)):
            v = max((y - y0 + 0.5) * side / box_height - 0.5, 0.0)
            u = max((x - x0 + 0.5) * side / box_width - 0.5, 0.0)
            top, left = int(v), int(u)
            bottom, right = min(top + 1, side - 1), min(left + 1, side - 1)
            upper = padded[top, left] * (1 - u + left) + padded[top, right] * (u - left)
            lower = padded[bottom, left] * (1 - u + left) + padded[bottom, right] * (u - left)
            pasted[y, x] = upper * (1 - v + top) + lower * (v - top)
    return pasted


coordinates = st.floats(-20, 70, width=32)
box_lists = st.lists(
    st.tuples(coordinates, coordinates, st.floats(0, 60, width=32), st.floats(0, 60, width=32)), max_size=4
).map(lambda rows: [(x, y, x + w, y + h) for x, y, w, h in rows])


def test_empty_detections_do_everything():
    empty = Detections.empty((4, 5))
    assert len(empty) == 0
    assert empty.paste_masks().shape == (0, 4, 5)
    assert empty.paste_masks().dtype == bool
    assert empty.paste_masks(threshold=None).dtype == np.float32
    assert empty.to_coco(3) == []
    assert list(empty) == []
    for picked in (empty[[]], empty[:2], empty[np.zeros(0, bool)], empty.above(0.5)):
        assert len(picked) == 0
        assert picked.masks.shape == (0, 28, 28)


def test_empty_ground_truth_does_everything():
    empty = GroundTruth(np.zeros((0, 4)), np.zeros(0, int), np.zeros((0, 8, 8), np.uint8), (), (4, 5))
    assert len(empty[[]]) == 0
    assert empty.paste_masks().shape == (0, 4, 5)


def test_fields_get_their_documented_dtypes_and_are_read_only():
    found = make_detections([[1, 2, 5, 8]])
    assert (found.boxes.dtype, found.scores.dtype) == (np.float32, np.float32)
    assert (found.category_ids.dtype, found.masks.dtype) == (np.int32, np.float32)
    with pytest.raises(ValueError, match="read-only"):
        found.boxes[0, 0] = 3


def test_record_does_not_follow_changes_of_the_arrays_it_was_made_from():
    boxes = np.float32([[1, 2, 5, 8]])
    found = Detections(boxes, [0.5], [1], ("car",), None, (10, 10))
    boxes[0, 0] = 4
    assert found.boxes[0, 0] == 1


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("boxes", np.zeros((2, 5)), r"Detections\.boxes has shape \[2, 5\], expected \[D, 4\]\."),
        ("boxes", [[0, 0, np.nan, 1]], r"Detections\.boxes holds NaN"),
        ("scores", [0.5, 0.5], r"Detections\.scores has shape \[2\], expected \[1\]\."),
        ("scores", ["high"], r"Detections\.scores has dtype <U4, expected float32\."),
        ("category_ids", [1.5], r"Detections\.category_ids has dtype float64, expected int32\."),
        ("class_names", (), r"Detections\.class_names has 0 names for 1 boxes"),
        ("class_names", "c", r"Detections\.class_names is 'c', expected a tuple of 1 strings"),
        ("masks", np.zeros((1, 28, 27)), r"Detections\.masks has shape \[1, 28, 27\], expected square"),
        ("image_size", (0, 5), r"Detections\.image_size is \(0, 5\), expected two positive integers"),
        ("image_size", (2.5, 5), r"Detections\.image_size"),
    ],
)
def test_bad_fields_are_named(field, value, message):
    fields = {
        "boxes": [[0, 0, 4, 4]], "scores": [0.5], "category_ids": [1], "class_names": ("car",), "masks": None,
        "image_size": (5, 5),
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        Detections(**{**fields, field: value})


def test_ground_truth_refuses_padding_rows_and_soft_masks():
    with pytest.raises(ValueError, match="labels holds -1, but labels start at 1"):
        GroundTruth([[0, 0, 4, 4]], [-1], np.zeros((1, 4, 4), np.uint8), ("car",), (5, 5))
    with pytest.raises(ValueError, match=r"GroundTruth\.masks has dtype float64, expected uint8"):
        GroundTruth([[0, 0, 4, 4]], [1], np.zeros((1, 4, 4)), ("car",), (5, 5))


def test_indexing_keeps_the_fields_together():
    found = make_detections([[0, 0, i + 1, 4] for i in range(5)])
    picks = {
        "number": (found[3], [3]), "last": (found[-1], [4]), "slice": (found[1:3], [1, 2]),
        "list": (found[[4, 0]], [4, 0]), "mask": (found[np.array([1, 0, 0, 1, 0], bool)], [0, 3]),
    }  # fmt: skip
    for name, (picked, numbers) in picks.items():
        assert picked.boxes[:, 2].tolist() == [number + 1 for number in numbers], name
        assert picked.class_names == tuple(found.class_names[number] for number in numbers), name
        np.testing.assert_array_equal(picked.masks, found.masks[numbers], err_msg=name)
        np.testing.assert_array_equal(picked.scores, found.scores[numbers], err_msg=name)
        np.testing.assert_array_equal(picked.category_ids, found.category_ids[numbers], err_msg=name)
    assert [one.boxes[0, 2] for one in found] == [1, 2, 3, 4, 5]
    with pytest.raises(IndexError):
        found[5]


def test_above_includes_the_bound():
    found = Detections(np.zeros((3, 4)), [0.25, 0.5, 0.75], [1, 2, 3], ("a", "b", "c"), None, (4, 4))
    assert found.above(0.5).class_names == ("b", "c")


@settings(max_examples=40, deadline=None)
@given(boxes=box_lists, keep=st.lists(st.booleans(), min_size=4, max_size=4))
def test_selecting_and_pasting_commute(boxes, keep):
    found = make_detections(boxes)
    keep = np.array(keep[: len(found)], bool)
    np.testing.assert_array_equal(found[keep].paste_masks(), found.paste_masks()[keep])


@settings(max_examples=25, deadline=None)
@given(boxes=box_lists, seed=st.integers(0, 99))
def test_paste_is_torchvisions(boxes, seed):
    found = make_detections(boxes, image_size=(23, 31), seed=seed)
    pasted = found.paste_masks(threshold=None)
    assert pasted.shape == (len(boxes), 23, 31)
    for number in range(len(found)):
        expected = torchvision_paste(found.masks[number], found.boxes[number], 23, 31)
        np.testing.assert_allclose(pasted[number], expected, atol=1e-5)


def test_paste_by_hand():
    # The box grows by 30/28 about its centre: (10, 10, 38, 38) becomes (9, 9, 39, 39), which is 31 pixels
    # wide, so the 30 cells do not fall on pixels but the middle stays 1 and the rim fades to the padding.
    found = make_detections([[10, 10, 38, 38]], masks=np.ones((1, 28, 28)))
    soft = found.paste_masks(threshold=None)[0]
    assert soft[24, 24] == pytest.approx(1.0)
    assert soft[24, 9] == 0.0  # 0.5 * 30 / 31 - 0.5 is below 0: the padding cell alone
    assert soft[24, 10] == pytest.approx(1.5 * 30 / 31 - 0.5, abs=1e-6)
    assert not soft[:9].any() and not soft[40:].any()
    assert found.paste_masks()[0].sum() == 29 * 29
    # One cell is padded to 3 over a box of (1, 1, 4, 4), 4 pixels wide: 0, 0.625, 0.625, 0 along each axis.
    dot = make_detections([[2, 2, 3, 3]], image_size=(6, 6), masks=np.ones((1, 1, 1)))
    np.testing.assert_allclose(dot.paste_masks(threshold=None)[0, 2], [0, 0, 0.390625, 0.390625, 0, 0])
    assert not dot.paste_masks().any()
    assert dot.paste_masks(threshold=0.39).sum() == 4


def test_boxes_beyond_the_image_paste_nothing_and_huge_ones_are_cut():
    boxes = [[-30, -30, -20, -20], [60, 60, 90, 90], [-500, -500, 900, 900]]
    found = make_detections(boxes, masks=np.ones((3, 28, 28)))
    assert found.paste_masks().sum(axis=(1, 2)).tolist() == [0, 0, 40 * 50]
    for y, x, patch in found.mask_patches():
        assert min(y, x) >= 0 and patch.size in (0, 40 * 50)


def test_pasting_without_masks_says_what_to_do():
    found = Detections([[0, 0, 4, 4]], [0.5], [1], ("car",), None, (5, 5))
    with pytest.raises(ValueError, match=r"Detections\.masks is None"):
        found.paste_masks()
    assert "segmentation" not in found.to_coco(1)[0]


@settings(max_examples=40, deadline=None)
@given(boxes=box_lists)
def test_coco_results_hold_the_same_masks_boxes_and_scores(boxes):
    found = make_detections(boxes)
    results = json.loads(json.dumps(found.to_coco(image_id=np.int64(17))))
    assert [result["category_id"] for result in results] == found.category_ids.tolist()
    for result, one in zip(results, found):
        assert result["image_id"] == 17
        assert np.float32(result["score"]) == one.scores[0]
        x, y, width, height = result["bbox"]
        np.testing.assert_array_equal(np.float32([x, y, x + width, y + height]), one.boxes[0])
        np.testing.assert_array_equal(coco_mask.decode(result["segmentation"]), one.paste_masks()[0])


@settings(max_examples=40, deadline=None)
@given(
    x=st.integers(0, 30), y=st.integers(0, 20), width=st.integers(1, 20), height=st.integers(1, 20),
    factor=st.integers(1, 3), seed=st.integers(0, 99),
)  # fmt: skip
def test_ground_truth_whose_grid_is_the_pixels_comes_back_whole(x, y, width, height, factor, seed):
    side = max(width, height)
    pixels = np.random.default_rng(seed).random((side, side)) > 0.5
    grid = np.kron(pixels, np.ones((factor, factor))).astype(np.uint8) * 255
    truth = GroundTruth([[x, y, x + side, y + side]], [1], grid[None], ("car",), (40, 50))
    expected = np.zeros((60, 70), bool)
    expected[y : y + side, x : x + side] = pixels
    if factor != 2:  # with two cells a pixel, its centre lies on the edge between them, which is in neither
        np.testing.assert_array_equal(truth.paste_masks()[0], expected[:40, :50])
    full = GroundTruth([[x, y, x + width, y + height]], [1], np.full((1, 7, 7), 255), ("car",), (40, 50))
    expected[:] = False
    expected[y : y + height, x : x + width] = True
    np.testing.assert_array_equal(full.paste_masks()[0], expected[:40, :50])


def test_ground_truth_fractional_box_takes_the_pixels_whose_centres_it_holds():
    truth = GroundTruth([[1.4, 0.6, 3.5, 2.4]], [1], np.full((1, 3, 3), 255), ("car",), (4, 5))
    assert np.argwhere(truth.paste_masks()[0]).tolist() == [[1, 1], [1, 2]]


# One line for print


def test_detections_are_shown_in_one_line():
    boxes = [[1, 2, 5, 8]] * 3
    found = Detections(boxes, [0.5, 0.729, 0.1], [3, 4, 3], ("car", "vehicle", "car"), None, (267, 279))
    assert repr(found) == str(found) == "Detections(3 objects, best vehicle 0.73, image 267 x 279)"
    assert repr(found[0]) == "Detections(1 object, best car 0.50, image 267 x 279)"
    assert repr(Detections.empty((267, 279))) == "Detections(no objects, image 267 x 279)"


def test_ground_truth_is_shown_in_one_line():
    truth = GroundTruth([[1, 2, 5, 8]] * 3, [1, 2, 2], None, ("car", "dog", "dog"), (10, 12))
    assert repr(truth) == "GroundTruth(3 objects: 2 dog, 1 car, image 10 x 12)"
    assert repr(truth[:0]) == "GroundTruth(no objects, image 10 x 12)"
