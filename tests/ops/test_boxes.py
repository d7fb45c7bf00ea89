"""Box arithmetic: hand-computed values, torchvision's, and properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from golden_inputs import box_case, golden, random_boxes
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mrcnn.ops import boxes as box_ops

RPN, HEAD = (1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)


@st.composite
def box_arrays(draw, count=6):
    """float32 [count, 4], corners within 0..500 and sides of 1..300."""
    numbers = st.floats(0, 1, width=32)
    values = np.float32(draw(st.lists(numbers, min_size=4 * count, max_size=4 * count))).reshape(count, 4)
    corner, sides = values[:, :2] * 500, 1 + values[:, 2:] * 299
    return np.concatenate([corner, corner + sides], axis=1).astype(np.float32)


def test_area_and_min_side():
    boxes = tf.constant([[1.0, 2.0, 4.0, 8.0], [5.0, 5.0, 5.0, 9.0], [3.0, 0.0, 1.0, 4.0]])
    assert box_ops.area(boxes).numpy().tolist() == [18.0, 0.0, -8.0]
    assert box_ops.min_side(boxes).numpy().tolist() == [3.0, 0.0, -2.0]


def test_pairwise_iou_by_hand():
    a = tf.constant([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 4.0, 4.0]])
    b = tf.constant([[1.0, 0.0, 3.0, 2.0], [2.0, 2.0, 4.0, 4.0], [9.0, 9.0, 9.0, 9.0]])
    np.testing.assert_allclose(box_ops.pairwise_iou(a, b), [[1 / 3, 0, 0], [4 / 16, 4 / 16, 0]], rtol=1e-6)


def test_iou_of_boxes_without_area_is_zero_not_nan():
    points = tf.constant([[3.0, 3.0, 3.0, 3.0]])
    assert box_ops.pairwise_iou(points, points).numpy().tolist() == [[0.0]]
    assert box_ops.generalized_iou(points, points).numpy().tolist() == [0.0]


def test_no_boxes():
    none, some = tf.zeros([0, 4]), tf.constant([[0.0, 0.0, 1.0, 1.0]])
    assert box_ops.pairwise_iou(none, some).shape == (0, 1)
    assert box_ops.pairwise_iou(some, none).shape == (1, 0)
    assert box_ops.encode(none, none, RPN).shape == (0, 4)
    assert box_ops.decode(none, none, HEAD).shape == (0, 4)


def test_pairwise_iou_of_batches_pairs_each_image_with_itself():
    a = random_boxes("batch", 6, 50, 50, 40).reshape(2, 3, 4)
    b = a[:, ::-1] + 3
    batched = box_ops.pairwise_iou(tf.constant(a), tf.constant(b))
    for image in range(2):
        alone = box_ops.pairwise_iou(tf.constant(a[image]), tf.constant(b[image]))
        np.testing.assert_array_equal(batched[image], alone)


def test_generalized_iou_by_hand():
    a = tf.constant([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0]])
    b = tf.constant([[1.0, 0.0, 3.0, 2.0], [3.0, 0.0, 4.0, 1.0]])
    # Hulls of 6 and 4 px, unions of 6 and 2 px.
    np.testing.assert_allclose(box_ops.generalized_iou(a, b), [1 / 3, -0.5], rtol=1e-6)


def test_generalized_iou_pulls_distant_boxes_together():
    box = tf.Variable([[0.0, 0.0, 10.0, 10.0]])
    with tf.GradientTape() as tape:
        value = box_ops.generalized_iou(box, tf.constant([[50.0, 0.0, 60.0, 10.0]]))
    gradient = tape.gradient(value, box).numpy()[0]
    assert gradient[2] > 0, "a right edge nearer to the target must raise GIoU"


def test_encode_by_hand():
    deltas = box_ops.encode(tf.constant([[3.0, 4.0, 7.0, 12.0]]), tf.constant([[0.0, 0.0, 4.0, 4.0]]), HEAD)
    np.testing.assert_allclose(deltas, [[10 * 3 / 4, 10 * 6 / 4, 0.0, 5 * math.log(2)]], rtol=1e-6)


def test_decode_by_hand_and_clamped():
    references = tf.constant([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 16.0, 16.0]])
    deltas = tf.constant([[0.75, 1.5, 0.0, math.log(2)], [0.0, 0.0, 50.0, 50.0]])
    expected = [[3, 4, 7, 12], [8 - 500, 8 - 500, 8 + 500, 8 + 500]]
    np.testing.assert_allclose(box_ops.decode(deltas, references, RPN), expected, rtol=1e-5)


def test_encode_of_padding_is_finite():
    padding = tf.zeros([1, 4])
    assert np.isfinite(box_ops.encode(padding, padding, HEAD)).all()
    assert np.isfinite(box_ops.encode(tf.constant([[0.0, 0.0, 9.0, 9.0]]), padding, HEAD)).all()


@settings(max_examples=25, deadline=None)
@given(box_arrays(), box_arrays())
def test_decode_turns_encode_back(boxes, references):
    for weights in (RPN, HEAD):
        # Sides differ by less than the clamp's factor of 62.5 only where the reference is not too small.
        wide = np.repeat((boxes[:, 2:] - boxes[:, :2] < 60 * (references[:, 2:] - references[:, :2])).all(1), 4)
        back = box_ops.decode(box_ops.encode(boxes, references, weights), tf.constant(references), weights)
        np.testing.assert_allclose(back.numpy().ravel()[wide], boxes.ravel()[wide], atol=0.05)


@settings(max_examples=25, deadline=None)
@given(box_arrays(), box_arrays())
def test_iou_is_symmetric_and_bounds_giou(a, b):
    iou = box_ops.pairwise_iou(tf.constant(a), tf.constant(b)).numpy()
    np.testing.assert_array_equal(iou, box_ops.pairwise_iou(tf.constant(b), tf.constant(a)).numpy().T)
    assert (iou >= 0).all() and (iou <= 1 + 1e-6).all()
    giou = box_ops.generalized_iou(tf.constant(a), tf.constant(b)).numpy()
    assert (giou <= np.diagonal(iou) + 1e-5).all() and (giou >= -1 - 1e-5).all()


def test_clip_uses_each_images_own_size():
    boxes = tf.constant([[[-5.0, -5.0, 50.0, 50.0]], [[30.0, 2.0, 50.0, 50.0]]])
    clipped = box_ops.clip(boxes, tf.constant([[20, 40], [10, 25]]))
    assert clipped.numpy().tolist() == [[[0, 0, 40, 20]], [[25, 2, 25, 10]]]
    per_class = box_ops.clip(boxes[:, :, None], tf.constant([[20, 40], [10, 25]]))
    np.testing.assert_array_equal(per_class[:, :, 0], clipped)


@pytest.mark.parametrize(("name", "weights"), [("rpn", RPN), ("head", HEAD)])
def test_coder_agrees_with_torchvision(name, weights):
    references, boxes, deltas = box_case()
    expected = golden("boxes")
    np.testing.assert_allclose(box_ops.encode(boxes, references, weights), expected[f"encode {name}"], atol=1e-5)
    decoded = box_ops.decode(tf.constant(deltas), tf.constant(references), weights)
    np.testing.assert_allclose(decoded, expected[f"decode {name}"], rtol=1e-5, atol=1e-3)


def test_iou_giou_and_clip_agree_with_torchvision():
    references, boxes, _ = box_case()
    expected = golden("boxes")
    far = np.ascontiguousarray(boxes[::-1])
    np.testing.assert_allclose(box_ops.pairwise_iou(references, boxes), expected["iou"], atol=1e-6)
    np.testing.assert_allclose(box_ops.generalized_iou(references, boxes), expected["giou"], atol=1e-6)
    np.testing.assert_allclose(box_ops.generalized_iou(references, far), expected["giou far"], atol=1e-6)
    np.testing.assert_allclose(1 - box_ops.generalized_iou(references, far), expected["giou loss"], atol=1e-6)
    clipped = box_ops.clip(tf.constant(references)[None], tf.constant([[150, 220]]))[0]
    np.testing.assert_array_equal(clipped, expected["clip"])
