"""Tests of keras_mrcnn.base.iou."""

import numpy as np
import pytest

from keras_mrcnn.base.iou import box_iou, match_pairs


def test_box_iou_by_hand():
    boxes = np.float32([[0, 0, 10, 10], [50, 50, 50, 60]])
    others = np.float32([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [50, 50, 50, 60]])
    ious = box_iou(boxes, others)
    np.testing.assert_allclose(ious, [[1, 50 / 150, 0, 0], [0, 0, 0, 0]])  # the last boxes have no area
    assert ious.dtype == np.float64


def test_no_boxes():
    nothing = np.zeros((0, 4))
    assert box_iou(nothing, np.zeros((3, 4))).shape == (0, 3)
    assert box_iou(np.zeros((3, 4)), nothing).shape == (3, 0)


def test_box_iou_is_that_of_tensorflow():
    from keras_mrcnn.ops.boxes import pairwise_iou

    random = np.random.default_rng(0)
    boxes = random.uniform(0, 50, (2, 9, 4)).astype(np.float32)
    boxes[..., 2:] += boxes[..., :2]
    np.testing.assert_allclose(box_iou(*boxes), pairwise_iou(*boxes).numpy(), atol=1e-6)


def test_best_pair_goes_first_and_each_row_and_column_once():
    scores = np.array([[0.9, 0.8, 0.0], [0.85, 0.2, 0.0]])
    assert match_pairs(scores, 0.1) == [(0, 0), (1, 1)]
    assert match_pairs(scores, 0.3) == [(0, 0)]
    assert match_pairs(scores.T, 0.1) == [(0, 0), (1, 1)]


def test_rows_in_order_choose_before_better_pairs():
    scores = np.array([[0.6, 0.5], [0.9, 0.7]])
    assert match_pairs(scores, 0.5) == [(1, 0), (0, 1)]
    assert match_pairs(scores, 0.5, rows_in_order=True) == [(0, 0), (1, 1)]


def test_of_equal_scores_the_first_row_and_column_go_first():
    scores = np.full((2, 3), 0.5)
    for rows_in_order in (False, True):
        assert match_pairs(scores, 0.5, rows_in_order) == [(0, 0), (1, 1)]


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_nothing_to_pair(shape):
    assert match_pairs(np.zeros(shape), 0.3) == []
