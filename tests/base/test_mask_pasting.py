"""Tests of keras_mrcnn.base.mask_pasting; what a pasted mask must look like is in test_structures.py."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mrcnn.base import mask_pasting

MASK = np.random.default_rng(5).random((1, 28, 28), np.float32)
coordinates = st.floats(-60, 160, width=32)
sides = st.floats(0, 200, width=32)
one_box = st.tuples(coordinates, coordinates, sides, sides).map(lambda xywh: (*xywh[:2], *np.add(xywh[:2], xywh[2:])))


def grids(boxes, image_size, masks=MASK, make=mask_pasting.detection_grids):
    boxes = np.float32(boxes).reshape(-1, 4)
    return make(np.repeat(masks, len(boxes), axis=0), boxes, image_size)


def test_grid_by_hand():
    # Two cells a side over the box, so four with the padding over the box made twice as large.
    (grid,) = grids([[1, 1, 3, 3]], (9, 9), np.float32([[[1, 2], [3, 4]]]))
    assert (grid.y, grid.x) == (0, 0)
    assert grid.values.tolist() == [[0, 0, 0, 0], [0, 1, 2, 0], [0, 3, 4, 0], [0, 0, 0, 0]]
    # That is 0 to 4 along each axis, five pixels of 0.8 cells. Their centres lie at 0.4, 1.2, 2, 2.8, 3.6 cells from
    # the start, so at -0.1 (held to 0), 0.7, 1.5, 2.3, 3.1 (held to 3) where cells' centres have whole numbers.
    expected = [[1, 0, 0, 0], [0.3, 0.7, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0.7, 0.3], [0, 0, 0, 1]]
    np.testing.assert_allclose(grid.down, expected, atol=1e-6)
    np.testing.assert_allclose(grid.across, expected, atol=1e-6)
    soft = np.zeros((9, 9))
    soft[:5, :5] = np.array(expected) @ grid.values @ np.array(expected).T
    ((y, x, patch),) = mask_pasting.patches([grid], None)
    np.testing.assert_allclose(patch, soft[:5, :5], atol=1e-6)
    np.testing.assert_allclose(mask_pasting.paste([grid], 1, (9, 9), None)[0], soft, atol=1e-6)
    np.testing.assert_array_equal(mask_pasting.paste([grid], 1, (9, 9), 1.2)[0], soft > 1.2)


def test_coverage_by_hand():
    # Pixels 1 and 2 have their centres in 0.75..2.75, at 0.75 and 1.75 from its start. The cells' centres are at 0.5
    # and 1.5: the first pixel is a quarter of the way to the second cell, the other one beyond it.
    (grid,) = grids([[0.75, 0.75, 2.75, 2.75]], (4, 4), np.uint8([[[0, 255], [51, 0]]]), mask_pasting.coverage_grids)
    assert (grid.y, grid.x) == (1, 1)
    np.testing.assert_allclose(grid.down, [[0.75, 0.25], [0, 1]])
    np.testing.assert_allclose(grid.values, [[0, 1], [0.2, 0]], atol=1e-7)


@settings(max_examples=60, deadline=None)
@given(
    box=one_box,
    make=st.sampled_from([mask_pasting.detection_grids, mask_pasting.coverage_grids]),
    at_once=st.sampled_from([1, 200, 2000, mask_pasting.VALUES_AT_ONCE]),
)
def test_part_by_part_is_the_whole_product(box, make, at_once):
    """Parts of one row and of many, and cut boxes that start anywhere in the grid."""
    image_size = (100, 90)
    masks = MASK if make is mask_pasting.detection_grids else np.uint8(MASK * 255)
    (grid,) = grids([box], image_size, masks, make)
    whole = grid.down.astype(np.float64) @ grid.values @ grid.across.T.astype(np.float64)
    with mock.patch.object(mask_pasting, "VALUES_AT_ONCE", at_once):
        ((y, x, soft),) = mask_pasting.patches([grid], None)
        ((_, _, hard),) = mask_pasting.patches([grid], 0.5)
    assert soft.dtype == np.float32 and min(y, x) >= 0
    np.testing.assert_allclose(soft, whole, atol=1e-6)
    assert hard.dtype == bool
    clear = np.abs(whole - 0.5) > 1e-6
    np.testing.assert_array_equal(hard[clear], whole[clear] > 0.5)


@settings(max_examples=30, deadline=None)
@given(boxes=st.lists(one_box, max_size=3), threshold=st.sampled_from([None, 0.25, 0.5]))
def test_patches_are_what_is_pasted(boxes, threshold):
    image_size = (100, 90)
    pasted = mask_pasting.paste(grids(boxes, image_size), len(boxes), image_size, threshold)
    assert pasted.shape == (len(boxes), *image_size)
    assert pasted.dtype == (np.float32 if threshold is None else bool)
    for image, (y, x, patch) in zip(pasted, mask_pasting.patches(grids(boxes, image_size), threshold)):
        rest = image.copy()
        place = rest[y : y + patch.shape[0], x : x + patch.shape[1]]
        np.testing.assert_array_equal(place, patch)
        place[...] = 0
        assert not rest.any()


@pytest.mark.parametrize("make", [mask_pasting.detection_grids, mask_pasting.coverage_grids])
@pytest.mark.parametrize("box", [[-30, -30, -20, -20], [60, 5, 90, 9], [5, 60, 9, 90], [900, 900, 901, 901]])
def test_boxes_beside_the_image(box, make):
    image_size, ones = (40, 50), np.full((1, 28, 28), 255, np.uint8)
    pasted = mask_pasting.paste(grids([box], image_size, ones, make), 1, image_size, 0.5)
    assert pasted.shape == (1, 40, 50) and not pasted.any()
    assert [patch.size for _, _, patch in mask_pasting.patches(grids([box], image_size, ones, make), 0.5)] == [0]


def test_box_without_a_side_has_the_pixel_that_torchvision_gives_it():
    ones = np.ones((1, 28, 28), np.float32)
    assert np.argwhere(mask_pasting.paste(grids([[7, 5, 7, 5]], (9, 9), ones), 1, (9, 9), 0.5)).tolist() == [[0, 5, 7]]
    none = grids([[7, 5, 7, 5]], (9, 9), np.uint8(ones), mask_pasting.coverage_grids)
    assert not mask_pasting.paste(none, 1, (9, 9), 0.5).any()


def test_no_objects():
    assert mask_pasting.paste([], 0, (4, 5), 0.5).shape == (0, 4, 5)
    assert list(mask_pasting.patches([], None)) == []
    assert list(mask_pasting.encode([], (4, 5))) == []
    assert list(grids([], (4, 5))) == []


def test_codes_are_of_whole_images_column_by_column():
    patches = [(1, 2, np.ones((2, 1), bool)), (0, 0, np.zeros((0, 3), bool)), (0, 0, np.ones((3, 4), bool))]
    codes = list(mask_pasting.encode(patches, (3, 4)))
    assert [code["size"] for code in codes] == [[3, 4]] * 3
    # Counts of 7, 2, 3; of 12; of 0, 12: each count below 16 is one character from "0" on.
    assert [code["counts"] for code in codes] == ["723", "<", "0<"]


@pytest.mark.parametrize("shape", [(1, 1), (7, 2000), (400, 640), (3000, 900), (5, 3)])
@pytest.mark.parametrize("side", [30, 56])
def test_products_stay_in_the_calling_thread(shape, side):
    down, across = (mask_pasting._interpolation(np.arange(length) + 0.5, length, side) for length in shape)
    grid = mask_pasting.Grid(0, 0, down, np.ones((side, side), np.float32), across)
    rows = mask_pasting._rows_at_once(grid)
    most_cells = max(np.count_nonzero(down[start : start + rows].any(axis=0)) for start in range(0, shape[0], rows))
    assert rows * most_cells * shape[1] <= mask_pasting.MULTIPLICATIONS_AT_ONCE
    np.testing.assert_allclose(mask_pasting._columns(grid), 1, rtol=1e-6)
