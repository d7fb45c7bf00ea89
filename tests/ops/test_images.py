import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mrcnn.ops import images as image_ops


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
    assert tuple(image_ops.resized_size(*size, 800, 1333).numpy()) == wanted


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(32, 1000), st.integers(0, 1000))
def test_size_is_that_of_python_floats(height, width, min_size, more):
    # torchvision computes it with Python's floats.
    scale = min(min_size / min(height, width), (min_size + more) / max(height, width))
    wanted = [max(int(height * scale), 1), max(int(width * scale), 1)]
    assert image_ops.resized_size(height, width, min_size, min_size + more).numpy().tolist() == wanted


def test_normalise():
    white = image_ops.normalise(tf.fill([2, 2, 3], tf.constant(255, tf.uint8)))
    np.testing.assert_allclose(white[0, 0], [2.2489, 2.4286, 2.6400], atol=1e-4)
    np.testing.assert_array_equal(image_ops.normalise(tf.fill([2, 2, 3], 255.0)), white)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_one_picture_is_normalised_to_the_same_bits(channels):
    picture = np.random.default_rng(0).integers(0, 256, (37, 61, channels), np.uint8)
    for pixels in (tf.constant(picture), tf.constant(picture, tf.float32) + 0.3, tf.constant(picture[:0])):
        np.testing.assert_array_equal(image_ops.normalise_picture(pixels), image_ops.normalise(pixels))


def test_resize_is_bilinear_with_half_pixel_centres_and_no_antialias():
    row = tf.constant([0.0, 4, 8, 12])[None, :, None]
    np.testing.assert_allclose(image_ops.resize_to(row, [1, 8])[0, :, 0], [0, 1, 3, 5, 7, 9, 11, 12])
    np.testing.assert_allclose(image_ops.resize_to(row, [1, 2])[0, :, 0], [2, 10])
    spike = tf.constant([0.0, 0, 0, 0, 9, 0, 0, 0])[None, :, None]
    assert image_ops.resize_to(spike, [1, 2]).numpy().max() == 0  # an antialiasing filter would see it


def test_boxes_scale_by_each_axis_of_its_own():
    scaled = image_ops.scale_boxes(tf.constant([[10.0, 20, 30, 40]]), [100, 200], [50, 300])
    np.testing.assert_allclose(scaled, [[15, 10, 45, 20]])
    assert image_ops.scale_boxes(tf.zeros([0, 4]), [1, 1], [2, 2]).shape == (0, 4)


def test_padding_is_right_and_bottom_to_a_multiple():
    padded = image_ops.pad_to_multiple(tf.ones([33, 64, 3]))
    assert padded.shape == (64, 64, 3)
    assert padded.numpy()[:33].min() == 1
    assert padded.numpy()[33:].max() == 0
    assert image_ops.pad_to_multiple(tf.ones([2, 32, 5, 3])).shape == (2, 32, 32, 3)
    assert image_ops.pad_to_multiple(tf.ones([8, 9, 3]), 1).shape == (8, 9, 3)


def test_denormalising_gives_the_picture_back():
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    back = image_ops.denormalise(image_ops.normalise(image))
    assert back.dtype == tf.uint8
    np.testing.assert_array_equal(back, image)
    assert image_ops.denormalise(tf.constant([[-9.0, 0, 9]])).numpy().tolist() == [[0, 116, 255]]
