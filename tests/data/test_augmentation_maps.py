import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mrcnn.data import augmentation_maps as maps


def jittered(size, min_size, max_size, jitter):
    return tuple(maps.jittered_size(tf.constant(size), min_size, max_size, jitter).numpy().tolist())


def placed(image_size, new_size, canvas_size, place=(0, 0), angle=0.0, mirrored=False):
    sizes = (tf.constant(size) for size in (image_size, new_size, canvas_size))
    place, angle = tf.constant(place, tf.float64), tf.constant(angle, tf.float64)
    return maps.placed_map(*sizes, place, angle, tf.constant(mirrored))


def mapped(matrix, *points):
    return maps.map_points(matrix, tf.constant(points, tf.float64)).numpy()


def test_jitter_multiplies_both_limits():
    assert jittered((100, 200), 100, 400, 1.5) == (150, 300)
    assert jittered((161, 200), 800, 1333, 1.0) == (799, 993)
    assert jittered((10, 4000), 8, 16, 0.01) == (1, 1)


def test_resize_has_a_factor_for_each_axis():
    matrix = placed((10, 20), (15, 60), (15, 60))
    assert mapped(matrix, [0, 0], [20, 10], [1, 1]).tolist() == [[0, 0], [60, 15], [3, 1.5]]


def test_mirror():
    matrix = placed((10, 20), (10, 20), (10, 20), mirrored=True)
    assert mapped(matrix, [0, 0], [20, 10], [3, 1]).tolist() == [[20, 0], [0, 10], [17, 1]]


def test_quarter_turn_is_counter_clockwise_as_seen():
    matrix = placed((4, 4), (4, 4), (4, 4), angle=90)
    points = mapped(matrix, [4, 0], [0, 0], [2, 2], [3, 1])  # the upper right corner goes to the upper left
    np.testing.assert_allclose(points, [[0, 0], [0, 4], [2, 2], [1, 1]], atol=1e-12)


def test_turn_is_about_the_centre_of_the_resized_image():
    matrix = placed((10, 20), (20, 40), (20, 40), angle=30)
    centre, right = mapped(matrix, [10, 5], [20, 5])
    np.testing.assert_allclose(centre, [20, 10])
    np.testing.assert_allclose(right, [20 + 20 * np.cos(np.pi / 6), 10 - 10], atol=1e-9)


@pytest.mark.parametrize(
    ("place", "offset"),
    [((0, 0), [0, 0]), ((0.999, 0.999), [-4, 3]), ((0.19, 0.24), [0, 0]), ((0.21, 0.26), [-1, 1])],
)
def test_place_gives_every_offset_the_same_share(place, offset):
    # 4 columns too many, so 5 offsets of a crop; 3 rows too few, so 4 places.
    assert placed((5, 10), (5, 10), (8, 6), place)[:, 2].numpy().tolist() == offset


def test_of_equal_sizes_there_is_one_place():
    assert placed((5, 10), (5, 10), (5, 10), (0.99, 0.99)).numpy().tolist() == [[1, 0, 0], [0, 1, 0]]


@settings(deadline=None)
@given(st.floats(-180, 180), st.booleans(), st.floats(0, 0.999))
def test_inverse_leads_back(angle, mirrored, place):
    matrix = placed((30, 50), (60, 70), (40, 90), (place, place), angle, mirrored)
    points = np.array([[0.0, 0], [50, 30], [12.5, 7]])
    there = maps.map_points(matrix, tf.constant(points))
    np.testing.assert_allclose(maps.map_points(maps.inverse_map(matrix), there), points, atol=1e-9)


def test_which_maps_keep_the_axes():
    assert maps.keeps_axes(placed((3, 4), (6, 7), (5, 9), (0.5, 0.5), mirrored=True))
    assert not maps.keeps_axes(placed((3, 4), (6, 7), (6, 7), angle=1))


def test_corners_and_extent():
    box = tf.constant([1.0, 2, 5, 4])
    assert maps.corners_of(box).numpy().tolist() == [[1, 2], [5, 2], [5, 4], [1, 4]]
    assert maps.extent(maps.corners_of(box)).numpy().tolist() == [1, 2, 5, 4]
