"""Detections out of the box head: by hand, and torchvision's."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from golden_inputs import DETECTION_SIZES, detection_case, golden
from layer_harness import check_layer

from keras_mrcnn.layers.detections import DetectionLayer
from keras_mrcnn.layers.proposals import Proposals

SETTINGS = {"score_threshold": 0.05, "nms_iou": 0.5, "max_detections": 6}
SIZES = tf.constant([[40, 60]])
ROIS = tf.constant([[[0.0, 0.0, 10.0, 10.0], [1, 0, 11, 10], [20, 20, 40, 60]]])


def proposals(boxes=ROIS, valid=(3,)):
    return Proposals(boxes, tf.ones(boxes.shape[:2]), tf.constant(valid))


def logits_of(probabilities):
    return tf.math.log(tf.constant(probabilities, tf.float32))


# Background and two classes: the second RoI is the better box of class 1, the first one also of class 2.
LOGITS = logits_of([[[0.1, 0.5, 0.4], [0.2, 0.7, 0.1], [0.92, 0.04, 0.04]]])


def detect(class_logits=LOGITS, deltas=None, rois=None, sizes=SIZES, **changes):
    deltas = tf.zeros([*class_logits.shape, 4]) if deltas is None else deltas
    return DetectionLayer(**{**SETTINGS, **changes})(class_logits, deltas, rois or proposals(), sizes)


def test_harness():
    check_layer(DetectionLayer(**SETTINGS), LOGITS, tf.zeros([1, 3, 3, 4]), proposals(), SIZES)


def test_all_classes_of_an_roi_compete_and_nms_is_within_a_class():
    found = detect()
    assert found.valid.numpy().tolist() == [2]
    assert found.labels[0].numpy().tolist() == [1, 2, 0, 0, 0, 0]
    np.testing.assert_allclose(found.scores[0, :3], [0.7, 0.4, 0.0], rtol=1e-5)
    np.testing.assert_allclose(found.boxes[0, :3], [ROIS[0, 1], ROIS[0, 0], np.zeros(4)], atol=1e-4)


def test_threshold_and_limit():
    assert int(detect(score_threshold=0.45).valid[0]) == 1
    found = detect(score_threshold=0.03, nms_iou=1.0, max_detections=5)
    assert int(found.valid[0]) == 5 and found.boxes.shape == (1, 5, 4)
    assert int(detect(score_threshold=0.03, nms_iou=1.0).valid[0]) == 6


def test_threshold_one_finds_nothing():
    found = detect(score_threshold=1.0)
    assert int(found.valid[0]) == 0
    assert not any(value.numpy().any() for value in found)


def test_deltas_are_those_of_the_class_with_the_head_weights():
    deltas = np.zeros((1, 3, 3, 4), np.float32)
    deltas[0, 1, 1] = [10, 0, 5 * np.log(2), 0]  # one width to the right, twice as wide
    found = detect(deltas=tf.constant(deltas))
    np.testing.assert_allclose(found.boxes[0, 0], [6, 0, 26, 10], atol=1e-4)


def test_padding_rois_take_no_part():
    found = detect(rois=proposals(valid=(1,)))
    np.testing.assert_allclose(found.scores[0, :3], [0.5, 0.4, 0.0], rtol=1e-5)


def test_boxes_are_clipped_and_tiny_ones_dropped():
    found = detect(logits_of([[[0.1, 0.5, 0.4], [0.2, 0.7, 0.1], [0.2, 0.4, 0.4]]]), sizes=tf.constant([[40, 20]]))
    assert int(found.valid[0]) == 2, "the third RoI begins where the image ends"


def test_no_gradient_flows():
    class_logits, deltas = tf.Variable(LOGITS), tf.Variable(tf.zeros([1, 3, 3, 4]))
    with tf.GradientTape() as tape:
        found = detect(class_logits, deltas)
        total = tf.reduce_sum(found.boxes) + tf.reduce_sum(found.scores)
    assert tape.gradient(total, [class_logits, deltas]) == [None, None]


def test_agrees_with_torchvision():
    logits, deltas, rois = map(tf.constant, detection_case())
    layer = DetectionLayer(score_threshold=0.05, nms_iou=0.5, max_detections=100)
    found = layer(logits, deltas, proposals(rois, (120, 120)), DETECTION_SIZES)
    expected = golden("detections")
    for image in range(2):
        boxes, scores, labels = (expected[f"{name} {image}"] for name in ("boxes", "scores", "labels"))
        assert int(found.valid[image]) == len(boxes) == 100
        np.testing.assert_array_equal(found.labels[image], labels)
        np.testing.assert_allclose(found.scores[image], scores, atol=1e-6)
        np.testing.assert_allclose(found.boxes[image], boxes, atol=1e-3)
