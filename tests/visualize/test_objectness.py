"""Objectness maps over the image."""

import dataclasses

import numpy as np
from visualize.made_outputs import make_views, panels_of, words_of

from keras_mrcnn.visualize import show_objectness
from keras_mrcnn.visualize.objectness import spread_cells
from keras_mrcnn.visualize.palette import SCORE_COLOURS


def test_each_pixel_has_the_value_of_the_nearest_cell():
    # Centres on 0, 4, 8 pixels: pixel 1 (its centre at 1.5) is nearer to the first, pixel 2 (at 2.5) to the second.
    spread = spread_cells(np.float32([[1, 2, 3]]), (4.0, 4.0), (2, 10))
    assert spread.tolist() == [[1, 1, 2, 2, 2, 2, 3, 3, 3, 3]] * 2


def test_cells_of_the_padding_are_not_seen():
    assert spread_cells(np.float32([[1, 2, 9]]), (4.0, 4.0), (1, 4)).tolist() == [[1, 1, 2, 2]]


def test_levels_share_one_scale_and_take_the_highest_anchor_of_a_cell():
    outputs = make_views()
    objectness = np.zeros((6, 12, 2), np.float32)
    objectness[0, 0] = 0.25, 1.0
    level = dataclasses.replace(outputs.levels[1], objectness=objectness)
    figure = show_objectness(dataclasses.replace(outputs, levels=(level, outputs.levels[0])))
    highest, lowest = (np.round(np.array(SCORE_COLOURS(end)[:3]) * 255 * 0.7 + 30) for end in (1.0, 0.0))
    picture = panels_of(figure)[0]
    np.testing.assert_array_equal(picture[5, 5], highest)
    np.testing.assert_array_equal(picture[5, 200], lowest)
    assert "P3: 6 x 12 cells, highest 1.00" in words_of(figure)
    assert words_of(figure).endswith("0.00 0.25 0.50 0.75 1.00 objectness")
