"""Shapes become the pixels that geometry says."""

import numpy as np
import pytest

from keras_mrcnn.scenes.shapes import Part, ellipse, limb, polygon, rasterise, rectangle, step


def test_rectangle_fills_its_box():
    sprite = rasterise([rectangle(0, 0, 0, 2, 1)], 20)
    assert sprite.mask.shape == (10, 20) and sprite.mask.all()
    assert sprite.coverage.shape == (1, 10, 20) and sprite.coverage.dtype == np.float32
    np.testing.assert_allclose(sprite.coverage, 1.0)


@pytest.mark.parametrize("side", [30, 60, 150])
def test_areas_are_true_at_every_supersampling(side):
    triangle = rasterise([polygon(0, (0, 0), (1, 0), (0, 1))], side)
    assert triangle.coverage.sum() == pytest.approx(side**2 / 2, rel=0.03)
    disc = rasterise([ellipse(0, 5, 5, 2)], side)
    assert disc.coverage.sum() == pytest.approx(np.pi * side**2 / 4, rel=0.03)
    bar = rasterise([limb(0, (0, 0), (4, 0), 1)], side)  # a square of 4x2 between two half discs, 6 long
    assert bar.coverage.sum() == pytest.approx((8 + np.pi) * (side / 6) ** 2, rel=0.03)


def test_later_parts_hide_earlier_ones():
    sprite = rasterise([rectangle(0, 0, 0, 4, 4), rectangle(2, 0, 0, 2, 4)], 16)
    assert sprite.coverage.shape == (3, 16, 16)
    np.testing.assert_allclose(sprite.coverage.sum(axis=(1, 2)), [128, 0, 128])
    assert sprite.coverage[2, :, :8].all() and sprite.coverage[0, :, 8:].all()


def test_mirror_swaps_left_and_right():
    corner = [polygon(0, (0, 0), (0, 8), (2, 8), (2, 2), (8, 2), (8, 0))]
    plain, mirrored = rasterise(corner, 16), rasterise(corner, 16, mirror=True)
    np.testing.assert_array_equal(mirrored.mask, plain.mask[:, ::-1])


def test_quarter_turn_and_stretch():
    assert rasterise([rectangle(0, 0, 0, 2, 1)], 20, angle=np.pi / 2).mask.shape == (20, 10)
    assert rasterise([rectangle(0, 0, 0, 1, 1)], 20, stretch=2.0).mask.shape == (10, 20)


def test_turned_ellipse_and_step():
    upright = ellipse(0, 0, 0, 3, 1, np.pi / 2)
    np.testing.assert_allclose(np.ptp(upright.points, axis=0), [2, 6], atol=0.1)
    np.testing.assert_allclose(step((1, 1), 2, 0.0), [1, 3])
    np.testing.assert_allclose(step((1, 1), 2, np.pi / 2), [3, 1])


def test_thin_shape_keeps_a_pixel():
    sprite = rasterise([Part(np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 0.01]]), 0)], 16)
    assert sprite.mask.shape == (1, 16)
