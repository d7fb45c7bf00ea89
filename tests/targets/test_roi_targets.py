"""RoI targets: ground truths among the proposals, labels, samples; images without objects and with many."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from golden_inputs import random_boxes

from keras_mrcnn.layers.proposals import Proposals
from keras_mrcnn.targets.roi_targets import sample_rois

GT = [[0.0, 0.0, 10.0, 10.0], [30, 30, 40, 40], [0, 0, 0, 0]]
PROPOSED = [[1.0, 0.0, 11.0, 10.0], [30, 30, 40, 36], [60, 60, 70, 70], [30, 30, 40, 40]]
# The last proposal is padding, although its row is not zero; the second image has no objects.
PROPOSALS = Proposals(tf.constant([PROPOSED] * 2), tf.ones([2, 4]), tf.constant([3, 3]))
BATCH = {
    "gt_boxes": tf.constant([GT] * 2),
    "gt_labels": tf.constant([[3, 1, -1], [-1, -1, -1]]),
    "seeds": tf.constant([[1, 2], [3, 4]]),
}


def sample(samples=6, positive_fraction=1.0, **kwargs):
    return sample_rois(
        PROPOSALS, BATCH, positive_iou=0.5, samples=samples, positive_fraction=positive_fraction, **kwargs
    )


def rows(targets, image=0):
    """{RoI: (label, matched, target box)} of the rows that are not padding."""
    real = targets.labels[image].numpy() >= 0
    columns = (value[image].numpy()[real].tolist() for value in targets)
    return {tuple(roi): (label, matched, box) for roi, label, box, matched in zip(*columns)}


def test_ground_truths_join_and_padding_does_not():
    assert rows(sample()) == {
        (1, 0, 11, 10): (3, 0, GT[0]),
        (30, 30, 40, 36): (1, 1, GT[1]),
        (0, 0, 10, 10): (3, 0, GT[0]),
        (30, 30, 40, 40): (1, 1, GT[1]),
        (60, 60, 70, 70): (0, 0, GT[0]),
    }
    labels = sample().labels[0].numpy().tolist()
    assert sorted(labels[:4]) == [1, 1, 3, 3] and labels[4:] == [0, -1]
    assert not sample().rois[0, 5].numpy().any()


def test_positive_fraction():
    labels = sample(samples=4, positive_fraction=0.5).labels[0].numpy()
    assert (labels > 0).sum() == 2 and labels[2:].tolist() == [0, -1]


def test_positives_only():
    labels = sample(positives_only=True).labels.numpy()
    assert (labels[0] > 0).sum() == 4 and labels[0, 4:].tolist() == [-1, -1]
    assert (labels[1] == -1).all()


def test_an_image_without_objects_gives_background():
    targets = sample()
    assert targets.labels[1].numpy().tolist() == [0, 0, 0, -1, -1, -1]
    assert set(rows(targets, 1)) == {tuple(box) for box in PROPOSED[:3]}


def test_no_gradient_flows():
    boxes = tf.Variable(PROPOSALS.boxes)
    with tf.GradientTape() as tape:
        targets = sample_rois(
            PROPOSALS._replace(boxes=boxes), BATCH, positive_iou=0.5, samples=6, positive_fraction=1.0
        )
        total = tf.reduce_sum(targets.rois) + tf.reduce_sum(targets.boxes)
    assert tape.gradient(total, boxes) is None


def test_300_objects_in_a_graph():
    gt_boxes = random_boxes("300 objects", 300, 400, 400, 80)
    proposals = Proposals(tf.constant(gt_boxes)[None] + 1.0, tf.ones([1, 300]), tf.constant([300]))
    batch = {
        "gt_boxes": tf.constant(gt_boxes)[None],
        "gt_labels": tf.constant(np.arange(300, dtype=np.int32) % 5 + 1)[None],
        "seeds": tf.constant([[0, 0]]),
    }

    @tf.function
    def traced(proposals, batch):
        return sample_rois(proposals, batch, positive_iou=0.5, samples=512, positive_fraction=0.25)

    targets = traced(proposals, batch)
    labels, matched = targets.labels[0].numpy(), targets.matched[0].numpy()
    assert (labels > 0).sum() == 128 and targets.rois.shape == (1, 512, 4)
    np.testing.assert_array_equal(labels[:128], matched[:128] % 5 + 1)
    np.testing.assert_array_equal(targets.boxes[0, :128], gt_boxes[matched[:128]])
