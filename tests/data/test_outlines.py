"""Outlines of masks: by hand, and filled again by pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as mask_api

from keras_mrcnn.data import outlines
from keras_mrcnn.data.outlines import joined_polygon, mask_outlines

MASKS = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 1))


def traced(rows):
    """The outlines of a mask drawn with # and dots: points and whether it is a hole."""
    mask = np.array([[character == "#" for character in row] for row in rows])
    return [(outline.points.tolist(), outline.is_hole) for outline in mask_outlines(mask)]


def signed_area(points):
    """Positive if the points go clockwise in the picture, where y points down."""
    x, y = points.T
    return (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2


def fill(polygons, shape):
    """What pycocotools fills."""
    return mask_api.decode(mask_api.merge(mask_api.frPyObjects([np.ravel(p).tolist() for p in polygons], *shape)))


def test_one_pixel_and_a_step():
    assert traced([".#"]) == [([[1, 0], [2, 0], [2, 1], [1, 1]], False)]
    assert traced(["#.", "##"]) == [([[0, 0], [1, 0], [1, 1], [2, 1], [2, 2], [0, 2]], False)]


def test_hole_goes_the_other_way():
    (outer, is_hole), (hole, is_inner_hole) = traced(["###", "#.#", "###"])
    assert (is_hole, is_inner_hole) == (False, True)
    assert signed_area(np.array(outer)) == 9 and signed_area(np.array(hole)) == -1


def test_pixels_that_touch_at_a_corner_are_one_part():
    ((points, is_hole),) = traced(["#.", ".#"])
    assert points == [[0, 0], [1, 0], [1, 1], [2, 1], [2, 2], [1, 2], [1, 1], [0, 1]] and not is_hole
    assert len(traced([".#", "#."])) == 1


def test_background_that_touches_at_a_corner_is_two_holes():
    assert [is_hole for _, is_hole in traced(["####", "#.##", "##.#", "####"])] == [False, True, True]


@pytest.mark.parametrize("shape", [(3, 4), (0, 4), (0, 0)])
def test_empty_mask(shape):
    assert mask_outlines(np.zeros(shape, bool)) == []


@given(MASKS)
@settings(max_examples=300, deadline=None)
def test_outlines_enclose_the_mask(mask):
    found = mask_outlines(mask)
    assert sum(signed_area(outline.points) for outline in found) == mask.sum()
    assert all((signed_area(outline.points) < 0) == outline.is_hole for outline in found)
    if not any(outline.is_hole for outline in found) and found:
        np.testing.assert_array_equal(fill([outline.points for outline in found], mask.shape), mask)


@given(MASKS)
@settings(max_examples=300, deadline=None)
def test_joined_polygon_fills_parts_and_leaves_holes(mask):
    found = [outline.points for outline in mask_outlines(mask)]
    if found:
        np.testing.assert_array_equal(fill([joined_polygon(found)], mask.shape), mask)


def test_joining_one_line_changes_nothing():
    line = np.array([[0, 0], [2, 0], [2, 2]])
    np.testing.assert_array_equal(joined_polygon([line]), line)


def test_lines_that_touch_are_joined_without_a_bridge():
    left, right = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]), np.array([[1, 1], [2, 1], [2, 2], [1, 2]])
    assert joined_polygon([left, right]).tolist() == [
        [0, 0], [1, 0], [1, 1], [2, 1], [2, 2], [1, 2], [1, 1], [0, 1],
    ]  # fmt: skip


def test_each_line_is_joined_to_the_nearest(monkeypatch):
    monkeypatch.setattr(outlines, "DISTANCES_AT_ONCE", 3)  # so that the corners are compared in several steps
    triangles = [np.array([[x, 0], [x + 1, 0], [x, 1]]) for x in (0, 20, 10)]
    line = joined_polygon(triangles)
    steps = np.abs(np.diff(line, axis=0)).max(axis=1)
    assert sorted(steps)[-4:] == [9, 9, 9, 9]  # to the one in the middle, and from there to the last; no bridge of 19
