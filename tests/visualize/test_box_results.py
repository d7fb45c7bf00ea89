"""Results of the box head before and after NMS."""

import numpy as np
from visualize.made_outputs import CAR, DOG, has_colour, make_views, panels_of, with_nothing_found, words_of

from keras_mrcnn.visualize import PALETTE, show_boxes
from keras_mrcnn.visualize.box_results import best_class_boxes


def test_boxes_of_all_classes_best_first():
    outputs = make_views()
    boxes, scores, labels = best_class_boxes(outputs.class_boxes, outputs.class_scores, 0.05)
    assert boxes.tolist() == [CAR, DOG, CAR]
    np.testing.assert_array_equal(scores, np.float32([0.9, 0.8, 0.05]))
    assert labels.tolist() == [1, 2, 2]
    boxes, scores, labels = best_class_boxes(np.zeros((0, 3, 4)), np.zeros((0, 3)), 0.05)
    assert boxes.shape == (0, 4) and len(scores) == len(labels) == 0


def test_shown_before_and_after_nms_with_scores():
    figure = show_boxes(make_views(), top=1)
    before, after = panels_of(figure)
    for number, box in enumerate((CAR, DOG)):
        y, x = round((box[3] - 10) * 4.6), round(box[2] * 4.6) - 2
        assert has_colour(after, PALETTE[number])[y, x]
        assert has_colour(before, PALETTE[number])[y, x] == (number == 0)
    assert (before[80:100, 92:200].max(axis=-1) < 60).any()  # the letters of a score above the box
    assert (after[250, 200] == 100).all()  # no masks
    assert "Before NMS: the 1 best of 2 boxes of score 0.3 or more" in words_of(figure)
    assert "After NMS: 2 detections" in words_of(figure) and words_of(figure).endswith("car dog")


def test_nothing_found_is_shown_as_such():
    figure = show_boxes(with_nothing_found(make_views()))
    assert "Before NMS: 0 boxes of score 0.3 or more After NMS: 0 detections" in words_of(figure)
    for picture in panels_of(figure):
        np.testing.assert_array_equal(picture, 100)
