"""Non-maximum suppression within groups: by hand and against torchvision."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from golden_inputs import golden, nms_case

from keras_mrcnn.ops.nms import grouped_nms

# The first two overlap by 8 / 12, the third stands alone.
BOXES = np.float32([[0, 0, 10, 1], [2, 0, 12, 1], [20, 0, 30, 1]])


def keep(boxes, scores, iou_threshold=0.5, score_threshold=0.0, max_boxes=10):
    """`grouped_nms` of one image: boxes [N, 4] shared by the groups, scores [N, K]."""
    return grouped_nms(
        tf.constant(boxes)[None, :, None],
        tf.constant(scores, tf.float32)[None],
        iou_threshold=iou_threshold,
        score_threshold=score_threshold,
        max_boxes=max_boxes,
    )


def test_the_best_of_overlapping_boxes_stays():
    kept = keep(BOXES, [[0.5], [0.9], [0.7]])
    assert kept.valid.numpy().tolist() == [2]
    np.testing.assert_array_equal(kept.boxes[0, :2], BOXES[[1, 2]])
    np.testing.assert_allclose(kept.scores[0, :3], [0.9, 0.7, 0.0])


def test_a_higher_threshold_keeps_both():
    assert int(keep(BOXES, [[0.5], [0.9], [0.7]], iou_threshold=0.7).valid[0]) == 3


def test_groups_do_not_suppress_each_other():
    kept = keep(BOXES, [[0.5, -1.0], [-1.0, 0.9], [0.7, -1.0]])
    assert kept.groups[0, :3].numpy().tolist() == [1, 0, 0]
    np.testing.assert_array_equal(kept.boxes[0, :3], BOXES[[1, 2, 0]])


def test_score_threshold_is_exclusive_and_max_boxes_bounds_all_groups_together():
    assert int(keep(BOXES, [[0.5], [0.2], [0.7]], score_threshold=0.5).valid[0]) == 1
    assert keep(BOXES, [[0.5, 0.6], [0.1, 0.2], [0.7, 0.8]], max_boxes=3).scores.shape == (1, 3)


def test_nothing_left_gives_zero_padding():
    kept = keep(BOXES, [[-1.0], [-1.0], [-1.0]], max_boxes=4)
    assert kept.valid.numpy().tolist() == [0]
    assert not kept.boxes.numpy().any() and not kept.scores.numpy().any()
    assert kept.groups.dtype == tf.int32 and kept.boxes.shape == (1, 4, 4)


def test_no_candidates_at_all():
    assert keep(np.zeros((0, 4), np.float32), np.zeros((0, 2))).valid.numpy().tolist() == [0]


def test_images_of_a_batch_are_apart():
    scores = np.float32([[[0.5], [0.9], [0.7]], [[0.9], [0.5], [-1.0]]])
    boxes = np.stack([BOXES, BOXES])[:, :, None]
    kept = grouped_nms(boxes, scores, iou_threshold=0.5, score_threshold=0.0, max_boxes=3)
    assert kept.valid.numpy().tolist() == [2, 1]
    np.testing.assert_array_equal(kept.boxes[1, 0], BOXES[0])


def test_no_gradient_flows():
    boxes, scores = tf.Variable(BOXES[None, :, None]), tf.Variable([[[0.5], [0.9], [0.7]]])
    with tf.GradientTape() as tape:
        kept = grouped_nms(boxes, scores, iou_threshold=0.5, score_threshold=0.0, max_boxes=3)
        total = tf.reduce_sum(kept.boxes) + tf.reduce_sum(kept.scores)
    assert tape.gradient(total, [boxes, scores]) == [None, None]


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_agrees_with_torchvision(threshold):
    boxes, scores, _ = nms_case()
    expected = golden("boxes")[f"nms {threshold}"]
    kept = keep(boxes, scores[:, None], iou_threshold=threshold, max_boxes=150)
    assert int(kept.valid[0]) == len(expected)
    np.testing.assert_array_equal(kept.boxes[0, : len(expected)], boxes[expected])


def test_groups_agree_with_torchvision():
    boxes, scores, groups = nms_case()
    expected = golden("boxes")["grouped nms 0.5"]
    kept = keep(boxes, np.where(groups[:, None] == np.arange(3), scores[:, None], -1), max_boxes=150)
    assert int(kept.valid[0]) == len(expected)
    np.testing.assert_array_equal(kept.boxes[0, : len(expected)], boxes[expected])
    np.testing.assert_array_equal(kept.groups[0, : len(expected)], groups[expected])
