import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mrcnn.data import compact_masks, transforms
from keras_mrcnn.ops import images as image_ops

RESIZE = [[0.5, 0, 0], [0, 0.25, 0]]  # twice as wide and four times as high


def test_flip_by_hand():
    image = tf.reshape(tf.range(6.0), [1, 6, 1])
    masks = tf.constant([[[1, 2], [3, 4]]], tf.uint8)
    flipped, boxes, flipped_masks = transforms.flip(image, tf.constant([[1.0, 0, 3, 1]]), masks)
    assert flipped.numpy().ravel().tolist() == [5, 4, 3, 2, 1, 0]
    assert boxes.numpy().tolist() == [[3, 0, 5, 1]]
    assert flipped_masks.numpy().tolist() == [[[2, 1], [4, 3]]]


def test_flipping_twice_changes_nothing():
    image = tf.random.stateless_uniform([5, 7, 3], [0, 1])
    boxes = tf.constant([[0.0, 1, 6.5, 4], [2, 2, 3, 3]])
    masks = tf.random.stateless_uniform([2, 4, 4], [0, 2])
    for before, after in zip((image, boxes, masks), transforms.flip(*transforms.flip(image, boxes, masks))):
        np.testing.assert_allclose(before, after, atol=1e-6)


def test_warp_by_a_resize_is_the_resize():
    image = tf.random.stateless_uniform([6, 10, 3], [0, 1])
    warped = transforms.warp(image, tf.constant(RESIZE, tf.float64), [24, 20])
    np.testing.assert_allclose(warped, image_ops.resize_to(image, [24, 20]), atol=1e-5)


def test_warp_shows_where_the_map_leads_and_nothing_elsewhere():
    image = tf.reshape(tf.range(1.0, 13.0), [3, 4, 1])
    moved = transforms.warp(image, tf.constant([[1.0, 0, -1], [0, 1, 1]], tf.float64), [3, 6])
    assert moved[..., 0].numpy().tolist() == [[0, 5, 6, 7, 8, 0], [0, 9, 10, 11, 12, 0], [0] * 6]
    # A quarter turn, counter-clockwise: (x, y) of the result shows (4 - y, x).
    turned = transforms.warp(image, tf.constant([[0.0, -1, 4], [1, 0, 0]], tf.float64), [4, 3])
    np.testing.assert_allclose(turned[..., 0], np.rot90(image.numpy()[..., 0]), atol=1e-6)


def test_warp_in_a_graph_of_unknown_size():
    signature = [tf.TensorSpec([None, None, 3]), tf.TensorSpec([2, 3], tf.float64), tf.TensorSpec([2], tf.int32)]
    warped = tf.function(transforms.warp, input_signature=signature)(np.ones((3, 5, 3), np.float32), RESIZE, [12, 10])
    assert warped.shape == (12, 10, 3)
    np.testing.assert_allclose(warped, 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("factors", "wanted"),
    [
        ([1, 1, 1], [[10, 20, 200], [100, 100, 100]]),
        ([2, 1, 1], [[20, 40, 255], [200, 200, 200]]),
        ([0, 1, 1], [[0, 0, 0], [0, 0, 0]]),
        ([1, 1, 0], [[37.53] * 3, [100] * 3]),  # 0.299 * 10 + 0.587 * 20 + 0.114 * 200
        ([1, 0, 1], [[68.765] * 3, [68.765] * 3]),  # the mean of 37.53 and 100
        ([1, 1, 2], [[0, 2.47, 255], [100, 100, 100]]),
    ],
)
def test_colours_by_hand(factors, wanted):
    image = tf.constant([[[10, 20, 200], [100, 100, 100]]], tf.uint8)
    changed = transforms.change_colours(image, tf.constant(factors, tf.float32))
    np.testing.assert_allclose(changed[0], wanted, atol=1e-3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 2, width=32), min_size=3, max_size=3), st.integers(0, 100))
def test_colours_stay_in_range(factors, seed):
    image = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    changed = transforms.change_colours(image, factors).numpy()
    assert changed.shape == image.shape
    assert changed.min() >= 0 and changed.max() <= 255


@pytest.mark.parametrize("channels", [1, 4])
def test_colours_of_grey_and_of_alpha(channels):
    image = np.random.default_rng(0).integers(0, 256, (4, 5, channels), np.uint8)
    changed = transforms.change_colours(image, [0.5, 1.0, 0.0]).numpy()
    if channels == 1:
        np.testing.assert_allclose(changed, image * 0.5)  # grey has no saturation
    else:
        np.testing.assert_array_equal(changed[..., 3], image[..., 3])
        np.testing.assert_allclose(changed[..., 0], image[..., :3] @ [0.1495, 0.2935, 0.057], rtol=1e-5)


def test_compact_mask_by_hand():
    # Two cells over three columns: the left one has column 0 and half of column 1, which is covered.
    mask = tf.constant([[0, 9, 0], [0, 9, 0]], tf.uint8)  # any number but 0
    assert transforms.compact_mask(mask, tf.constant([0.0, 0, 3, 2]), 2).numpy().tolist() == [[85, 85], [85, 85]]
    # Beyond the mask, nothing is covered.
    ones = tf.ones([2, 2], tf.bool)
    assert transforms.compact_mask(ones, tf.constant([-2.0, 0, 2, 2]), 2).numpy().tolist() == [[0, 255], [0, 255]]
    assert not transforms.compact_mask(ones, tf.constant([5.0, 5, 8, 8]), 2).numpy().any()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9))
def test_compact_mask_is_that_of_numpy(seed, size):
    random = np.random.default_rng(seed)
    mask = random.integers(0, 2, (6, 7)).astype(np.uint8)
    corner = random.uniform(-2, 6, 2)
    box = np.concatenate([corner, corner + random.uniform(0.1, 6, 2)])
    ours = transforms.compact_mask(tf.constant(mask), tf.constant(box), size).numpy()
    assert np.abs(ours.astype(int) - compact_masks.compact_mask(mask, box, size)).max() <= 1
