"""Proposals, drawn and shown."""

import numpy as np
import pytest
from visualize.made_outputs import CAR, grey_image, make_views, panels_of, with_nothing_found, words_of

from keras_mrcnn.visualize import draw_proposals, show_proposals
from keras_mrcnn.visualize.palette import score_colours


def test_proposals_draw_the_best_and_the_best_on_top():
    boxes = np.float32([[10, 10, 50, 50], [10, 10, 50, 50], [60, 60, 90, 90]])
    image = grey_image(100, 100)
    best_two = draw_proposals(image, boxes, scores=[0.1, 0.9, 0.5], top=2)
    assert (best_two[60, 70] != 100).any()
    assert best_two[10, 30, 0] > 200 and best_two[10, 30, 2] < 100  # yellow
    only_best = draw_proposals(image, boxes, scores=[0.1, 0.9, 0.5], top=1)
    assert (only_best[60, 70] == 100).all()
    in_order = draw_proposals(image, boxes, top=2)
    assert (in_order[60, 70] == 100).all()
    with pytest.raises(ValueError, match=r"scores have shape \[2\] for 3 boxes"):
        draw_proposals(image, boxes, scores=[0.1, 0.9])


def test_shown_before_and_after_nms_side_by_side():
    outputs = make_views()
    figure = show_proposals(outputs, top=2)
    before, after = panels_of(figure)
    assert before.shape == after.shape == (460, 920, 3)  # 4.6 times as large
    best, worst = score_colours([0.9, 0.5], 0.5, 0.9)
    side = int(CAR[2] * 4.6) - 3
    assert tuple(before[200, side]) == tuple(after[200, side]) == best
    assert not (before == worst).all(axis=-1).any()  # the second candidate is the car again
    assert tuple(after[300, int(180 * 4.6) - 3]) == worst
    assert "Before NMS: the 2 best of 3 proposals" in words_of(figure)
    assert "After NMS: 2 proposals" in words_of(figure)
    assert "0.50" in words_of(figure) and "0.90" in words_of(figure)


def test_nothing_proposed_is_shown_as_such():
    outputs = with_nothing_found(make_views())
    figure = show_proposals(outputs)
    for picture in panels_of(figure):
        np.testing.assert_array_equal(picture, 100)
    assert words_of(figure).startswith("Before NMS: 0 proposals After NMS: 0 proposals")
    assert draw_proposals(grey_image(), np.zeros((0, 4))).tolist() == grey_image().tolist()
