"""Anchors and their labels."""

import numpy as np
from visualize.made_outputs import has_colour, make_views, panels_of, with_nothing_found, without_ground_truth, words_of

from keras_mrcnn.visualize import show_anchors
from keras_mrcnn.visualize.anchors import DRAWN_NEGATIVES, IGNORED, NEGATIVE, POSITIVE


def test_a_panel_for_each_level_with_the_counts():
    figure = show_anchors(make_views())
    assert len(panels_of(figure)) == 2
    assert "P2, anchors of 16 px: 1 positive, 1 ignored, 286 negative" in words_of(figure)  # 12 x 24 cells
    assert "P3, anchors of 32 px: 1 positive, 1 ignored, 70 negative" in words_of(figure)


def test_anchors_lie_where_they_lie_in_the_image():
    fine, coarse = panels_of(show_anchors(make_views()))
    # 3.4 times as large. The first anchor of P2 is (-8, -8, 8, 8): only its lower right part is in the image.
    assert has_colour(fine, POSITIVE)[:27, :27].any() and not has_colour(fine, POSITIVE)[28:].any()
    assert has_colour(fine, POSITIVE)[26, 10] and not has_colour(fine, POSITIVE)[0, 5]
    # The last one of P3 is centred on (176, 80) and 32 wide.
    assert has_colour(coarse, IGNORED)[round(64 * 3.4), 620] and not has_colour(coarse, IGNORED)[:210].any()


def test_all_positives_but_few_negatives_are_drawn():
    picture, _ = panels_of(show_anchors(make_views()))
    most = DRAWN_NEGATIVES * 4 * 16 * 3.4
    assert 0 < has_colour(picture, NEGATIVE).sum() < most < 286 * 4 * 16 * 3.4


def test_without_ground_truth_anchors_have_no_labels():
    figure = show_anchors(without_ground_truth(make_views()))
    assert "P2, anchors of 16 px: 288 of them" in words_of(figure) and "positive" not in words_of(figure)
    assert not has_colour(panels_of(figure)[0], POSITIVE).any()


def test_without_objects_all_are_negative():
    figure = show_anchors(with_nothing_found(make_views()))
    assert "0 positive, 0 ignored, 288 negative" in words_of(figure)
    assert not np.any([has_colour(picture, POSITIVE).any() for picture in panels_of(figure)])
