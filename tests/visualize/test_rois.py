"""Sampled RoIs and their targets."""

import numpy as np
from visualize.made_outputs import has_colour, make_views, panels_of, with_nothing_found, without_ground_truth, words_of

from keras_mrcnn.visualize import PALETTE, show_rois
from keras_mrcnn.visualize.palette import GREY


def test_positives_have_the_colour_of_their_class_and_negatives_are_grey():
    figure = show_rois(make_views())
    rois, targets = panels_of(figure)
    assert has_colour(rois, PALETTE[0])[200, int(22 * 4.6) + 2]  # the second RoI of the car
    assert has_colour(rois, PALETTE[1])[300, int(120 * 4.6) + 2]
    assert has_colour(rois, GREY)[20, 45] and not has_colour(targets, GREY).any()
    assert has_colour(targets, PALETTE[0])[200, 20 * 4 + 13] and not has_colour(targets, PALETTE[0])[200, 22 * 4 + 16]
    assert "RoIs: 3 positive, 1 negative Targets of the positives: 2 objects" in words_of(figure)
    assert words_of(figure).endswith("car dog negative: background")


def test_without_positives_there_are_no_targets():
    figure = show_rois(with_nothing_found(make_views()))
    assert "RoIs: 0 positive, 0 negative Targets of the positives: 0 objects" in words_of(figure)
    for picture in panels_of(figure):
        assert len(np.unique(picture)) == 1


def test_without_ground_truth_it_says_so():
    figure = show_rois(without_ground_truth(make_views()))
    assert words_of(figure) == "No ground truth is given, so no RoIs are sampled"
