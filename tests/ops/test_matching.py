"""Matching of boxes to ground truths: by hand, with padding, and against torchvision."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from golden_inputs import golden, matching_case

from keras_mrcnn.ops import matching

# IoU with GT[0]: 1, 0.5, 0.25, 0; the last one overlaps GT[1] by 0.2.
BOXES = np.float32([[0, 0, 8, 8], [0, 0, 8, 4], [0, 0, 4, 4], [100, 100, 110, 102]])
GT = np.float32([[0, 0, 8, 8], [100, 100, 110, 110], [0, 0, 0, 0]])


def match(boxes=BOXES, gt_boxes=GT, valid=(True, True, False), positive=0.7, negative=0.3, best_for_gt=True):
    labels, matched = matching.match(
        tf.constant(boxes),
        tf.constant(gt_boxes),
        tf.constant(valid),
        positive_iou=positive,
        negative_iou=negative,
        best_for_gt=best_for_gt,
    )
    return labels.numpy().tolist(), matched.numpy().tolist()


def test_positive_ignored_negative():
    labels, matched = match(best_for_gt=False)
    assert labels == [1, -1, 0, 0]
    assert matched == [0, 0, 0, 1]


def test_every_object_gets_its_best_anchor_however_poor():
    assert match()[0] == [1, -1, 0, 1]


def test_all_of_a_tie_are_positive():
    boxes = np.float32([[100, 100, 110, 102], [100, 108, 110, 110], [100, 100, 110, 101]])
    assert match(boxes)[0] == [1, 1, 0]


def test_best_for_an_object_stays_with_the_one_that_it_overlaps_more():
    # The only box is the best for both objects, and overlaps the second more.
    labels, matched = match(np.float32([[0, 0, 10, 10]]), np.float32([[0, 0, 10, 2], [0, 4, 10, 10]]), (True, True))
    assert (labels, matched) == ([1], [1])


def test_thresholds_are_inclusive_above_and_exclusive_below():
    assert match(positive=0.5, negative=0.25, best_for_gt=False)[0] == [1, 1, -1, 0]


def test_an_object_that_nothing_touches_makes_no_box_positive():
    assert match(BOXES[:1], np.float32([[50, 50, 60, 60]]), (True,))[0] == [0]


def test_no_objects_makes_everything_background():
    labels, matched = match(valid=(False, False, False))
    assert labels == [0, 0, 0, 0] and matched == [0, 0, 0, 0]


def test_no_boxes():
    assert match(np.zeros((0, 4), np.float32)) == ([], [])


def test_padding_never_matches_even_where_it_has_a_box():
    assert match(valid=(False, True, False))[0] == [0, 0, 0, 1]


def torchvision_labels(matches):
    """Torchvision gives the index of the ground truth, -1 below the thresholds, -2 between them."""
    return np.select([matches >= 0, matches == -1], [1, 0], -1)


def test_anchors_agree_with_torchvision():
    anchors, gt_boxes = matching_case()
    expected = golden("matching")["rpn"]
    labels, matched = match(anchors, gt_boxes, [True] * len(gt_boxes))
    np.testing.assert_array_equal(labels, torchvision_labels(expected))
    positive = expected >= 0
    assert positive.sum() > 10
    np.testing.assert_array_equal(np.array(matched)[positive], expected[positive])


def test_rois_agree_with_torchvision():
    anchors, gt_boxes = matching_case()
    expected = golden("matching")["roi"]
    labels, matched = match(anchors, gt_boxes, [True] * len(gt_boxes), 0.5, 0.5, best_for_gt=False)
    np.testing.assert_array_equal(labels, torchvision_labels(expected))
    np.testing.assert_array_equal(np.array(matched)[expected >= 0], expected[expected >= 0])
