"""Colours of classes and scores."""

import pytest

from keras_mrcnn.visualize.palette import PALETTE, choose_colours, class_colour, score_colours


def test_classes_go_through_the_palette_and_round_again():
    assert [class_colour(label) for label in (1, 7, 8)] == [PALETTE[0], PALETTE[6], PALETTE[0]]
    assert len(set(PALETTE)) == 7


def test_scores_go_from_dark_blue_to_yellow():
    low, middle, high = score_colours([0.2, 0.3, 0.4], 0.2, 0.4)
    assert low[2] > low[0] and high[0] > 200 > 100 > high[2]
    assert sum(low) < sum(middle) < sum(high)  # brighter is better, in grey too
    assert score_colours([0.5], 0.5, 0.5) == [low]
    assert score_colours([], 0, 1) == []


def test_names_decide_where_all_are_given():
    assert choose_colours([9], ["dog"], "class", ("cat", "dog")) == [PALETTE[1]]
    assert choose_colours([9], ["cow"], "class", ("cat", "dog")) == [PALETTE[2]]
    with pytest.raises(ValueError, match="colour_by is 'size'"):
        choose_colours([9], ["dog"], "size", None)
