"""Mask targets beside predicted masks."""

import dataclasses

import numpy as np
from visualize.made_outputs import make_views, panels_of, with_nothing_found, without_ground_truth, words_of

from keras_mrcnn.visualize import MaskOutputs, SampledRoIs, show_masks
from keras_mrcnn.visualize.masks import CROP_SIDE, GAP, choose_rois
from keras_mrcnn.visualize.palette import SCORE_COLOURS

HIGH, LOW = (np.array(SCORE_COLOURS(end, bytes=True)[:3]) for end in (1.0, 0.0))


def test_ious_of_target_and_prediction():
    # 14 x 14 cells against the same, against the same moved down by half, against none.
    np.testing.assert_allclose(make_views().masks.ious, [1, 1 / 3, 0], rtol=1e-6)
    nothing = np.zeros((1, 28, 28), np.float32)
    assert MaskOutputs(nothing, nothing).ious.tolist() == [0.0]
    assert MaskOutputs(nothing[:0], nothing[:0]).ious.shape == (0,)


def test_objects_take_turns_best_roi_first():
    box = [0, 0, 10, 10]
    boxes = np.float32([[0, 0, 10, 6], [0, 0, 10, 9], box, [0, 0, 10, 8], box])
    rois = SampledRoIs(boxes, np.int32([1, 1, 1, 2, 0]), np.float32([box] * 5), np.int32([0, 0, 0, 1, 0]))
    assert choose_rois(rois, 8) == [2, 3, 1, 0]
    assert choose_rois(rois, 2) == [2, 3]


def test_image_target_and_prediction_stand_side_by_side():
    outputs = make_views()
    image = outputs.image.copy()
    image[20:60, 20:50] = 200  # the left half of the car
    figure = show_masks(dataclasses.replace(outputs, image=image))
    first = panels_of(figure)[0]
    height = round(CROP_SIDE * 40 / 60)  # the car is 60 x 40 pixels
    assert first.shape == (height, 3 * CROP_SIDE + 2 * GAP, 3)
    down, across = height // 2, CROP_SIDE // 2
    assert (first[down, across - 12] == 200).all() and (first[down, across + 12] == 100).all()
    for left in (CROP_SIDE + GAP, 2 * (CROP_SIDE + GAP)):
        assert (first[:, left - GAP : left] == 255).all()
        np.testing.assert_array_equal(first[down, left + 2], LOW)
        np.testing.assert_array_equal(first[down, left + across], HIGH)
    assert words_of(figure).startswith("car: image, target, mask; IoU 1.00 dog: image, target, mask; IoU 0.00 car")
    assert len(panels_of(show_masks(outputs, top=2))) == 2


def test_boxes_thinner_than_a_pixel_are_shown():
    outputs = make_views()
    boxes = np.float32([[199.9, 10, 200, 60], [5, 5, 5, 5], *outputs.rois.boxes[2:]])
    rois = dataclasses.replace(outputs.rois, boxes=boxes)
    assert len(panels_of(show_masks(dataclasses.replace(outputs, rois=rois)))) == 3


def test_nothing_to_compare_is_said():
    outputs = make_views()
    assert words_of(show_masks(with_nothing_found(outputs))) == "There is no positive RoI to compare"
    assert words_of(show_masks(without_ground_truth(outputs))) == "There is no ground truth with masks to compare"
