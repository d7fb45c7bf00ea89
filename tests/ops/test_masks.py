import numpy as np
import pytest
import tensorflow as tf

from keras_mrcnn.data.compact_masks import area_average, compact_mask
from keras_mrcnn.ops.masks import crop_mask_targets


def crop(masks, boxes, rois, matched, size):
    """One image, lists in, array [R, size, size] out."""
    return crop_mask_targets(
        tf.constant(np.uint8(masks)[None]),
        tf.constant(np.float32(boxes).reshape(1, -1, 4)),
        tf.constant(np.float32(rois).reshape(1, -1, 4)),
        tf.constant(np.int32(matched).reshape(1, -1)),
        size,
    )[0].numpy()


def disc(height, width, centre, radius):
    y, x = np.mgrid[:height, :width] + 0.5
    return ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2).astype(np.uint8)


def test_roi_on_the_box_by_hand():
    mask = [[255, 0], [0, 51]]
    assert crop([mask], [2, 2, 6, 6], [2, 2, 6, 6], [0], 2).tolist() == [[[1, 0], [0, pytest.approx(0.2)]]]
    four = crop([mask], [2, 2, 6, 6], [2, 2, 6, 6], [0], 4)[0]
    np.testing.assert_allclose(four, np.kron([[1, 0], [0, 0.2]], np.ones((2, 2))), atol=1e-6)
    assert crop([mask], [2, 2, 6, 6], [2, 2, 6, 6], [0], 1)[0, 0, 0] == pytest.approx(0.3)


def test_zero_outside_of_the_box():
    target = crop([[[255]]], [10, 10, 20, 20], [5, 10, 25, 20], [0], 4)[0]
    np.testing.assert_allclose(target, [[0, 1, 1, 0]] * 4, atol=1e-6)
    assert crop([[[255]]], [10, 10, 20, 20], [30, 30, 40, 40], [0], 4).max() == 0


def test_each_roi_takes_its_own_object():
    masks = [[[255]], [[0]], [[102]]]
    boxes = [[0, 0, 8, 8]] * 3
    targets = crop(masks, boxes, [[2, 2, 6, 6]] * 4, [2, 0, 1, -1], 2)
    np.testing.assert_allclose(targets.mean(axis=(1, 2)), [0.4, 1, 0, 0], atol=1e-6)


@pytest.mark.parametrize("scale", [0.25, 0.7, 1.0, 1.4, 6.0])
def test_close_to_the_full_size_mask_whatever_the_size_of_the_roi(scale):
    mask = disc(200, 240, (110, 90), 60.5)
    box = np.float32([49, 29, 171, 151])
    centre, side = np.array([115.0, 92.0]), 122 * scale
    roi = np.concatenate([centre - side / 2, centre + side / 2])
    target = crop([compact_mask(mask, box, 56)], box, roi, [0], 28)[0]
    wanted = area_average(mask, roi, 28)
    assert np.abs(target - wanted).mean() < 0.01
    assert ((target >= 0.5) == (wanted >= 0.5)).mean() > 0.98


def test_empty_and_degenerate_inputs_give_finite_zeros():
    assert crop(np.zeros((1, 4, 4)), [0, 0, 0, 0], np.zeros((0, 4)), [], 28).shape == (0, 28, 28)
    padding = crop(np.full((1, 4, 4), 255), [0, 0, 0, 0], [[0, 0, 0, 0], [1, 1, 9, 9]], [0, 0], 28)
    assert padding.max() == 0
    # A RoI without area counts as one pixel.
    assert crop([[[255]]], [0, 0, 8, 8], [4, 4, 4, 4], [0], 2).min() == 1
    # Neither a sliver nor a huge RoI breaks it.
    assert np.isfinite(crop([[[255]]], [3, 0, 3.0001, 9], [[0, 0, 1e4, 1e4], [3, 3, 3, 3]], [0, 0], 28)).all()


def test_in_a_graph_of_unknown_shape_and_without_gradient():
    specs = [
        tf.TensorSpec([None, None, None, None], tf.uint8),
        tf.TensorSpec([None, None, 4]),
        tf.TensorSpec([None, None, 4]),
        tf.TensorSpec([None, None], tf.int32),
    ]
    graph = tf.function(lambda *args: crop_mask_targets(*args, 5), input_signature=specs)
    masks = tf.cast(tf.random.stateless_uniform([2, 3, 7, 7], [1, 2], 0, 256, tf.int32), tf.uint8)
    boxes = tf.constant([[[0.0, 0, 9, 9]] * 3] * 2)
    rois = tf.constant([[[1.0, 2, 8, 7]] * 2] * 2)
    matched = tf.constant([[0, 2], [1, 1]])
    with tf.GradientTape() as tape:
        tape.watch([boxes, rois])
        targets = graph(masks, boxes, rois, matched)
    np.testing.assert_allclose(targets, crop_mask_targets(masks, boxes, rois, matched, 5), atol=1e-6)
    assert targets.shape == (2, 2, 5, 5)
    assert tape.gradient(targets, [boxes, rois]) == [None, None]
