import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_api

from keras_mrcnn.data.fine_masks import FINE_SIDE, LARGEST_FACTOR, fine_mask
from keras_mrcnn.data.segmentations import full_mask


def pixels_of(mask, height, width):
    """The share of each pixel of the image that a fine mask covers."""
    shares = np.zeros((height, width))
    cells = mask.cells.reshape(-1, mask.factor, mask.cells.shape[1] // mask.factor, mask.factor)
    rows, columns = cells.shape[0], cells.shape[2]
    shares[mask.top : mask.top + rows, mask.left : mask.left + columns] = cells.mean(axis=(1, 3))
    return shares


def test_square_by_hand():
    mask = fine_mask([[2, 1, 4, 1, 4, 3, 2, 3]], 10, 10)
    assert mask.frame == (2, 1, 8, 16, 16)
    assert mask.cells.dtype == bool and mask.cells.all()


def test_fractions_of_pixels_are_kept():
    mask = fine_mask([[2.25, 1.5, 4.5, 1.5, 4.5, 3, 2.25, 3]], 10, 10)
    assert mask.frame == (2, 1, 8, 16, 24)
    shares = pixels_of(mask, 10, 10)
    assert shares[1:3, 2:5].tolist() == [[0.375, 0.5, 0.25], [0.75, 1.0, 0.5]]
    assert shares.sum() == 2.25 * 1.5


def test_triangle_has_its_area():
    mask = fine_mask([[0, 0, 40, 0, 0, 30]], 100, 100)
    assert mask.factor == 7
    assert pixels_of(mask, 100, 100).sum() == pytest.approx(600, rel=0.01)


@pytest.mark.parametrize(("side", "factor"), [(1, 8), (32, 8), (36, 8), (37, 7), (128, 2), (255, 2), (256, 1)])
def test_long_objects_have_fewer_cells_in_a_pixel(side, factor):
    mask = fine_mask([[0, 0, side, 0, side, 1, 0, 1]], 300, 300)
    assert mask.factor == factor == min(-(-FINE_SIDE // side), LARGEST_FACTOR)
    assert mask.cells.shape == (factor, side * factor)


def test_several_polygons_are_one_mask():
    mask = fine_mask([[0, 0, 2, 0, 2, 2, 0, 2], [4, 0, 6, 0, 6, 1, 4, 1], [1, 0, 3, 0, 3, 1, 1, 1]], 10, 10)
    assert pixels_of(mask, 10, 10)[:2, :7].tolist() == [[1, 1, 1, 0, 1, 1, 0], [1, 1, 0, 0, 0, 0, 0]]


def test_what_lies_beyond_the_image_is_cut_off():
    mask = fine_mask([[-5, -5, 3, -5, 3, 2, -5, 2]], 10, 8)
    assert mask.frame == (0, 0, 8, 16, 24) and mask.cells.all()
    mask = fine_mask([[6, 7, 20, 7, 20, 30, 6, 30]], 10, 8)
    assert mask.frame == (6, 7, 8, 24, 16) and mask.cells.all()


@pytest.mark.parametrize("polygon", [[-9, -9, -3, -9, -3, -3], [20, 20, 30, 20, 30, 30], [3, 3, 3, 3, 3, 3]])
def test_what_covers_nothing_has_one_empty_pixel(polygon):
    mask = fine_mask([polygon], 10, 8)
    assert not mask.cells.any() and mask.cells.size > 0
    assert 0 <= mask.left < 8 and 0 <= mask.top < 10


@pytest.mark.parametrize("compressed", [False, True])
def test_run_length_code_is_cut_to_its_object(compressed):
    pixels = np.zeros((40, 60), np.uint8)
    pixels[10:30, 15:20] = pixels[12, 14] = 1
    packed = mask_api.encode(np.asfortranarray(pixels))
    code = {"size": [40, 60], "counts": packed["counts"].decode()}
    if not compressed:
        runs = np.diff(np.flatnonzero(np.diff(pixels.ravel(order="F"), prepend=2, append=2)))
        code["counts"] = runs.tolist()
    mask = fine_mask(code, 40, 60)
    assert mask.frame == (14, 10, 1, 20, 6)
    np.testing.assert_array_equal(pixels_of(mask, 40, 60), pixels)


def test_run_length_code_of_nothing():
    mask = fine_mask({"size": [4, 5], "counts": [20]}, 4, 5)
    assert mask.frame == (0, 0, 1, 1, 1) and not mask.cells.any()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 80), st.integers(1, 80))
def test_pixels_are_those_of_the_full_mask(seed, height, width):
    """Most pixels of the full-size mask are at least half full, the others at most: their rules differ at the edge."""
    random = np.random.default_rng(seed)
    centre, radius = random.uniform(0, [width, height]), random.uniform(3, 40)
    angles = np.sort(random.uniform(0, 2 * np.pi, 7))
    polygon = (centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)).ravel().tolist()
    mask = fine_mask([polygon], height, width)
    assert mask.left >= 0 and mask.left + mask.cells.shape[1] // mask.factor <= width
    assert mask.top >= 0 and mask.top + mask.cells.shape[0] // mask.factor <= height
    shares, full = pixels_of(mask, height, width), full_mask([polygon], height, width).astype(bool)
    # Whole pixels agree; those on the edge differ by what the edge cuts off.
    assert not full[shares == 0].any() or full[shares == 0].mean() < 0.05
    inner = (shares == 1) & (np.roll(shares, 1, 0) == 1) & (np.roll(shares, 1, 1) == 1)
    assert full[inner].all()
