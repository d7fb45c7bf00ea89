"""Ground truth and detections, drawn and shown."""

import dataclasses

import numpy as np
import pytest
from visualize.made_outputs import (
    NAMES,
    grey_image,
    has_colour,
    make_detections,
    make_views,
    panels_of,
    with_nothing_found,
    without_ground_truth,
    words_of,
)

from keras_mrcnn.base.records import Detections, GroundTruth
from keras_mrcnn.visualize import (
    PALETTE,
    draw_detections,
    draw_ground_truth,
    draw_proposals,
    show_detections,
    show_ground_truth,
)


def test_nothing_found_leaves_a_copy_of_the_image():
    image = grey_image(60, 80)
    empty_truth = GroundTruth(np.zeros((0, 4)), np.zeros(0, int), np.zeros((0, 8, 8), np.uint8), (), (60, 80))
    for picture in (
        draw_detections(image, Detections.empty((60, 80))),
        draw_ground_truth(image, empty_truth),
        draw_proposals(image, np.zeros((0, 4))),
    ):
        np.testing.assert_array_equal(picture, image)
        assert picture is not image


@pytest.mark.parametrize("size", [(60, 90), (200, 150), (2000, 1500)])
def test_picture_has_mask_box_and_label_at_every_size(size):
    height, width = size
    box = [width * 0.1, height * 0.4, width * 0.6, height * 0.9]
    image = grey_image(height, width)
    picture = draw_detections(image, make_detections([box], size))
    assert picture.shape == (height, width, 3) and picture.dtype == np.uint8
    assert (image == 100).all()  # the image given is not drawn into
    outline = has_colour(picture, PALETTE[0])
    assert outline[round(box[3]) - 1, round(width * 0.5)]
    tint = np.round(100 * 0.6 + 0.4 * np.array(PALETTE[0]))
    inside = picture[round(height * 0.75), round(width * 0.35)]
    np.testing.assert_array_equal(inside, tint)
    assert (picture[-1, -1] == 100).all()


def test_label_is_written_and_names_the_score():
    one, two = (
        draw_detections(grey_image(200, 200), make_detections([[50, 80, 150, 150]], (200, 200), scores=[score]))
        for score in (0.87, 0.63)
    )
    label = slice(60, 80), slice(50, 130)
    assert (one[label].max(axis=-1) < 60).sum() > 20
    assert (one[label] != two[label]).any()
    np.testing.assert_array_equal(one[82:], two[82:])


def test_low_scores_are_left_out():
    found = make_detections([[10, 20, 40, 50], [50, 20, 70, 50]], (60, 80), scores=[0.49, 0.5], ids=[1, 2])
    picture = draw_detections(grey_image(60, 80), found)
    assert not has_colour(picture, PALETTE[0]).any()
    assert has_colour(picture, PALETTE[1]).any()
    assert has_colour(draw_detections(grey_image(60, 80), found, min_score=0.0), PALETTE[0]).any()


def test_detections_without_masks_get_boxes_only():
    picture = draw_detections(grey_image(100, 100), make_detections([[10, 30, 90, 90]], (100, 100), masks=False))
    assert has_colour(picture, PALETTE[0])[89, 50]
    assert (picture[60, 50] == 100).all()


def test_colours_by_class_by_instance_and_by_order_of_names():
    found = make_detections(
        [[5, 60, 45, 95], [55, 60, 95, 95]], (100, 100), ids=[3, 3], names=("dog", "dog"), scores=[0.9, 0.8]
    )
    used = {
        keyword: [number for number, colour in enumerate(PALETTE) if has_colour(picture, colour).any()]
        for keyword, picture in {
            "class": draw_detections(grey_image(100, 100), found),
            "instance": draw_detections(grey_image(100, 100), found, colour_by="instance"),
            "names": draw_detections(grey_image(100, 100), found, class_names=("cat", "dog")),
        }.items()
    }
    assert used == {"class": [2], "instance": [0, 1], "names": [1]}
    with pytest.raises(ValueError, match="colour_by is 'size', expected 'class' or 'instance'"):
        draw_detections(grey_image(100, 100), found, colour_by="size")


def test_ground_truth_is_drawn_with_its_class_colour():
    truth = GroundTruth([[10, 30, 60, 90]], [2], np.full((1, 8, 8), 255), ("dog",), (100, 100))
    picture = draw_ground_truth(grey_image(100, 100), truth)
    assert has_colour(picture, PALETTE[1])[89, 40]
    np.testing.assert_array_equal(picture[60, 35], np.round(60 + 0.4 * np.array(PALETTE[1])))


def test_ground_truth_without_masks_is_drawn_as_boxes():
    truth = GroundTruth([[10, 30, 60, 90]], [2], None, ("dog",), (100, 100))
    picture = draw_ground_truth(grey_image(100, 100), truth)
    assert has_colour(picture, PALETTE[1])[89, 40]
    np.testing.assert_array_equal(picture[60, 35], 100)


def test_small_objects_lie_on_top_of_large_ones():
    found = make_detections([[2, 2, 98, 98], [40, 40, 60, 60]], (100, 100), ids=[1, 2], scores=[0.9, 0.6])
    picture = draw_detections(grey_image(100, 100), found)
    assert has_colour(picture, PALETTE[1])[59, 50]


def test_grey_images_are_taken():
    picture = draw_detections(np.full((60, 80), 100, np.uint8), make_detections([[10, 20, 40, 50]], (60, 80)))
    assert picture.shape == (60, 80, 3)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((60, 80, 3), np.float32), r"The image is float32 \[60, 80, 3\], expected uint8"),
        (np.zeros((60, 80, 2), np.uint8), r"expected uint8 \[H, W, 3\]"),
        (np.zeros((80, 60, 3), np.uint8), "The image is 80 x 60 pixels, but the objects belong to one of 60 x 80"),
    ],
)
def test_wrong_images_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        draw_detections(image, Detections.empty((60, 80)))


def test_shown_objects_lie_where_they_lie_in_the_image():
    outputs = make_views()
    for verb in (show_ground_truth, show_detections):
        (picture,) = panels_of(verb(outputs))
        assert picture.shape == (600, 1200, 3)  # 6 times as large
        assert has_colour(picture, PALETTE[0])[60 * 6 - 2, 300] and has_colour(picture, PALETTE[1])[90 * 6 - 2, 900]
        np.testing.assert_array_equal(picture[330, 200], np.round(60 + 0.4 * np.array(PALETTE[0])))
        np.testing.assert_array_equal(picture[580, 20], 100)


def test_titles_count_the_objects():
    outputs = make_views()
    assert words_of(show_ground_truth(outputs)) == "Ground truth: 2 objects"
    assert words_of(show_detections(outputs)) == "2 detections of score 0.5 or more"
    assert words_of(show_detections(outputs, min_score=0.85)) == "1 detection of score 0.85 or more"
    assert words_of(show_detections(with_nothing_found(outputs))) == "0 detections of score 0.5 or more"
    assert words_of(show_ground_truth(with_nothing_found(outputs))) == "Ground truth: 0 objects"
    assert words_of(show_ground_truth(without_ground_truth(outputs))) == "No ground truth is given"


def test_classes_keep_their_colours_whatever_their_category_ids():
    outputs = make_views()
    found = make_detections([[20, 20, 80, 60]], (100, 200), ids=[90], names=NAMES[1:])
    (picture,) = panels_of(show_detections(dataclasses.replace(outputs, detections=found)))
    assert has_colour(picture, PALETTE[1]).any() and not has_colour(picture, PALETTE[0]).any()
