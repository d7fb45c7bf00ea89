"""RPN targets: labels, samples, their boxes; images without objects and with many."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from golden_inputs import random_boxes

from keras_mrcnn.targets.rpn_targets import label_anchors, sample_anchors

ANCHORS = tf.constant(
    [[0.0, 0.0, 10.0, 10.0], [20, 0, 30, 10], [40, 0, 50, 10], [0, 20, 10, 30], [20, 20, 30, 30], [40, 20, 50, 30]]
)
BATCH = {
    # The first image has the object of anchor 1 and one that anchor 3 overlaps by 0.5, the second has none.
    "gt_boxes": tf.constant([[[20.0, 0.0, 30.0, 10.0], [0, 20, 10, 25]], [[0, 0, 0, 0], [0, 0, 0, 0]]]),
    "gt_labels": tf.constant([[2, 1], [-1, -1]]),
    "seeds": tf.constant([[1, 2], [3, 4]]),
}
IOUS = {"positive_iou": 0.7, "negative_iou": 0.3}


def test_labels_of_every_anchor():
    labels, matched = label_anchors(ANCHORS, BATCH["gt_boxes"], BATCH["gt_labels"], **IOUS)
    assert labels.numpy().tolist() == [[0, 1, 0, 1, 0, 0], [0] * 6]
    assert matched.numpy()[0, [1, 3]].tolist() == [0, 1]


def test_images_are_labelled_one_after_the_other():
    traced = tf.function(lambda boxes, labels: label_anchors(ANCHORS, boxes, labels, **IOUS))
    operations = traced.get_concrete_function(BATCH["gt_boxes"], BATCH["gt_labels"]).graph.get_operations()
    loops = [operation for operation in operations if operation.type in ("While", "StatelessWhile")]
    # More at once would hold an N x G matrix of IoUs for each of them.
    assert [loop.get_attr("parallel_iterations") for loop in loops] == [1]


def test_samples():
    targets = sample_anchors(ANCHORS, BATCH, **IOUS, samples=4, positive_fraction=0.5)
    assert targets.labels.numpy().tolist() == [[1, 1, 0, 0], [0, 0, 0, 0]]
    first = dict(zip(targets.indices[0].numpy().tolist(), targets.boxes[0].numpy().tolist()))
    assert first[1] == [20, 0, 30, 10] and first[3] == [0, 20, 10, 25]
    assert len(set(targets.indices[1].numpy())) == 4


def test_fewer_anchors_than_samples_are_padded():
    targets = sample_anchors(ANCHORS, BATCH, **IOUS, samples=9, positive_fraction=0.5)
    assert targets.labels.shape == (2, 9) and targets.boxes.shape == (2, 9, 4)
    assert targets.labels[0].numpy().tolist() == [1, 1, 0, 0, 0, 0, -1, -1, -1]


def test_an_images_choice_does_not_depend_on_the_batch():
    anchors = tf.constant(random_boxes("many anchors", 400, 200, 200, 60))
    batch = {
        "gt_boxes": tf.constant(np.stack([random_boxes(f"objects {i}", 5, 180, 180, 60) for i in range(2)])),
        "gt_labels": tf.ones([2, 5], tf.int32),
        "seeds": tf.constant([[5, 6], [7, 8]]),
    }
    settings = {**IOUS, "samples": 64, "positive_fraction": 0.5}
    together = sample_anchors(anchors, batch, **settings)
    for image in range(2):
        alone = sample_anchors(anchors, {name: value[image : image + 1] for name, value in batch.items()}, **settings)
        for a, b in zip(together, alone):
            np.testing.assert_array_equal(a[image], b[0])


def test_300_objects_in_a_graph():
    anchors = tf.constant(random_boxes("anchors of a crowd", 3000, 400, 400, 100))
    batch = {
        "gt_boxes": tf.constant(random_boxes("crowd of 300", 300, 400, 400, 80))[None],
        "gt_labels": tf.ones([1, 300], tf.int32),
        "seeds": tf.constant([[0, 0]]),
    }
    traced = tf.function(lambda b: sample_anchors(anchors, b, **IOUS, samples=256, positive_fraction=0.5))
    targets = traced(batch)
    counts = np.bincount(targets.labels[0].numpy() + 1, minlength=3)
    assert counts.tolist() == [0, 128, 128]
