"""Proposals: by hand, with padding and small images, and torchvision's for training and for test."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from golden_inputs import PROPOSAL_SIZES, golden, map_sizes, proposal_case, some_rows
from layer_harness import check_layer

from keras_mrcnn.layers.anchors import AnchorGenerator
from keras_mrcnn.layers.proposals import ProposalLayer

COUNTS = {"pre_nms_train": 6, "post_nms_train": 5, "pre_nms_test": 3, "post_nms_test": 4, "nms_iou": 0.7}
# Two levels: four anchors apart from each other, and one that equals the first.
ANCHORS = [
    tf.constant([[0.0, 0.0, 10.0, 10.0], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]]),
    tf.constant([[0.0, 0.0, 10.0, 10.0]]),
]
LOGITS = [tf.constant([[1.0, 3.0, 2.0, 0.0]]), tf.constant([[2.5]])]
DELTAS = [tf.zeros([1, 4, 4]), tf.zeros([1, 1, 4])]
SIZE = tf.constant([[40, 64]])


def test_harness():
    check_layer(ProposalLayer(**COUNTS), LOGITS, DELTAS, ANCHORS, SIZE)
    check_layer(ProposalLayer(**COUNTS), LOGITS, DELTAS, ANCHORS, SIZE, training=True)


def test_best_of_each_level_first_and_levels_do_not_suppress_each_other():
    found = ProposalLayer(**COUNTS)(LOGITS, DELTAS, ANCHORS, SIZE)
    # Three of the first level and one of the second, which equals an anchor of the first.
    assert found.valid.numpy().tolist() == [4]
    assert found.boxes[0, :, 0].numpy().tolist() == [20, 0, 40, 0]
    np.testing.assert_allclose(found.scores[0], tf.sigmoid([3.0, 2.5, 2.0, 1.0]), rtol=1e-6)


def test_training_keeps_more():
    found = ProposalLayer(**COUNTS)(LOGITS, DELTAS, ANCHORS, SIZE, training=True)
    assert found.boxes.shape == (1, 5, 4) and int(found.valid[0]) == 5
    # Clipped at the true width, not at the padded one.
    assert found.boxes[0, 4].numpy().tolist() == [60, 0, 64, 10]


def test_boxes_outside_the_image_are_dropped_as_tiny():
    found = ProposalLayer(**COUNTS)(LOGITS, DELTAS, ANCHORS, tf.constant([[40, 20]]), training=True)
    assert int(found.valid[0]) == 2
    assert not found.boxes[0, 2:].numpy().any() and not found.scores[0, 2:].numpy().any()


def test_nms_within_a_level():
    shifted = tf.constant([[0.0, 0.0, 10.0, 10.0], [1, 0, 11, 10], [4, 0, 14, 10]])
    found = ProposalLayer(**COUNTS)([tf.constant([[1.0, 2.0, 0.5]])], [tf.zeros([1, 3, 4])], [shifted], SIZE)
    # The first overlaps the better second by 9 / 11, the third does by 7 / 13.
    assert found.boxes[0, :2, 0].numpy().tolist() == [1, 4] and int(found.valid[0]) == 2


def test_no_gradient_flows():
    logits, deltas = tf.Variable(LOGITS[1]), tf.Variable(DELTAS[1])
    with tf.GradientTape() as tape:
        found = ProposalLayer(**COUNTS)([logits], [deltas], ANCHORS[1:], SIZE)
        total = tf.reduce_sum(found.boxes) + tf.reduce_sum(found.scores)
    assert tape.gradient(total, [logits, deltas]) == [None, None]


@pytest.mark.parametrize(("name", "training"), [("train", True), ("test", False)])
def test_agrees_with_torchvision(name, training):
    objectness, deltas = (list(map(tf.constant, part)) for part in proposal_case())
    maps = [tf.zeros([1, *size, 1]) for size in map_sizes(128, 160)]
    anchors = AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), (0.5, 1.0, 2.0))(maps, tf.constant([128, 160]))
    layer = ProposalLayer(pre_nms_train=2000, post_nms_train=2000, pre_nms_test=1000, post_nms_test=1000, nms_iou=0.7)
    found, expected = layer(objectness, deltas, anchors, PROPOSAL_SIZES, training=training), golden("proposals")
    for image in range(2):
        count = int(expected[f"{name} count {image}"])
        assert int(found.valid[image]) == count
        rows = some_rows(count)
        np.testing.assert_allclose(tf.gather(found.boxes[image], rows), expected[f"{name} boxes {image}"], atol=1e-3)
        np.testing.assert_allclose(tf.gather(found.scores[image], rows), expected[f"{name} scores {image}"], atol=1e-6)
