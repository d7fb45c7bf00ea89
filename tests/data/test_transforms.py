import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mrcnn.data import transforms


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((480, 640), (800, 1066)),
        ((640, 480), (1066, 800)),
        ((161, 200), (799, 993)),  # 800 / 161 * 161 is a little less than 800
        ((500, 1500), (444, 1333)),  # the long side decides
        ((800, 800), (800, 800)),
        ((1, 5000), (1, 1333)),  # never 0
    ],
)
def test_size_by_hand(size, wanted):
    assert tuple(transforms.resized_size(*size, 800, 1333).numpy()) == wanted


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(32, 1000), st.integers(0, 1000))
def test_size_is_that_of_python_floats(height, width, min_size, more):
    # torchvision computes it with Python's floats.
    scale = min(min_size / min(height, width), (min_size + more) / max(height, width))
    wanted = [max(int(height * scale), 1), max(int(width * scale), 1)]
    assert transforms.resized_size(height, width, min_size, min_size + more).numpy().tolist() == wanted


def test_jitter_multiplies_the_scale():
    assert transforms.resized_size(100, 200, 100, 400, 1.5).numpy().tolist() == [150, 300]


def test_normalise():
    white = transforms.normalise(tf.fill([2, 2, 3], tf.constant(255, tf.uint8)))
    np.testing.assert_allclose(white[0, 0], [2.2489, 2.4286, 2.6400], atol=1e-4)
    np.testing.assert_array_equal(transforms.normalise(tf.fill([2, 2, 3], 255.0)), white)


def test_resize_is_bilinear_with_half_pixel_centres_and_no_antialias():
    row = tf.constant([0.0, 4, 8, 12])[None, :, None]
    np.testing.assert_allclose(transforms.resize_to(row, [1, 8])[0, :, 0], [0, 1, 3, 5, 7, 9, 11, 12])
    np.testing.assert_allclose(transforms.resize_to(row, [1, 2])[0, :, 0], [2, 10])
    spike = tf.constant([0.0, 0, 0, 0, 9, 0, 0, 0])[None, :, None]
    assert transforms.resize_to(spike, [1, 2]).numpy().max() == 0  # an antialiasing filter would see it


def test_resize_image_in_a_graph_of_unknown_size():
    graph = tf.function(
        transforms.resize_image,
        input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)] + 2 * [tf.TensorSpec([], tf.int32)],
    )
    resized = graph(np.full((30, 60, 3), 7, np.uint8), 15, 40)
    assert resized.shape == (15, 30, 3)
    assert resized.dtype == tf.float32
    np.testing.assert_allclose(resized, 7, rtol=1e-6)


def test_boxes_scale_by_each_axis_of_its_own():
    scaled = transforms.scale_boxes(tf.constant([[10.0, 20, 30, 40]]), [100, 200], [50, 300])
    np.testing.assert_allclose(scaled, [[15, 10, 45, 20]])
    assert transforms.scale_boxes(tf.zeros([0, 4]), [1, 1], [2, 2]).shape == (0, 4)


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


def test_padding_is_right_and_bottom_to_a_multiple():
    padded = transforms.pad_to_multiple(tf.ones([33, 64, 3]))
    assert padded.shape == (64, 64, 3)
    assert padded.numpy()[:33].min() == 1
    assert padded.numpy()[33:].max() == 0
    assert transforms.pad_to_multiple(tf.ones([2, 32, 5, 3])).shape == (2, 32, 32, 3)
    assert transforms.pad_to_multiple(tf.ones([8, 9, 3]), 1).shape == (8, 9, 3)


def test_denormalising_gives_the_picture_back():
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    back = transforms.denormalise(transforms.normalise(image))
    assert back.dtype == tf.uint8
    np.testing.assert_array_equal(back, image)
    assert transforms.denormalise(tf.constant([[-9.0, 0, 9]])).numpy().tolist() == [[0, 116, 255]]


RESIZE = [[0.5, 0, 0], [0, 0.25, 0]]  # twice as wide and four times as high


def test_warp_by_a_resize_is_the_resize():
    image = tf.random.stateless_uniform([6, 10, 3], [0, 1])
    warped = transforms.warp(image, tf.constant(RESIZE, tf.float64), [24, 20])
    np.testing.assert_allclose(warped, transforms.resize_to(image, [24, 20]), atol=1e-5)


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
