"""Tests of keras_mrcnn.visualize."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mrcnn.structures import Detections, GroundTruth
from keras_mrcnn.visualize import (
    PALETTE,
    SMALLEST_LETTERS,
    _font,
    _label_size,
    _place_label,
    _shorten,
    contact_sheet,
    draw_detections,
    draw_ground_truth,
    draw_proposals,
)


def make_detections(boxes, image_size, scores=None, ids=None, names=None, masks=True):
    count = len(boxes)
    return Detections(
        np.float32(boxes).reshape(-1, 4),
        np.full(count, 0.87) if scores is None else scores,
        np.ones(count, int) if ids is None else ids,
        ("car",) * count if names is None else names,
        np.ones((count, 28, 28)) if masks else None,
        image_size,
    )


def grey_image(height, width):
    return np.full((height, width, 3), 100, np.uint8)


def has_colour(picture, colour):
    return (picture == np.array(colour)).all(axis=-1)


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
        (np.zeros((60, 80, 4), np.uint8), r"expected uint8 \[H, W, 3\]"),
        (np.zeros((80, 60, 3), np.uint8), "The image is 80 x 60 pixels, but the objects belong to one of 60 x 80"),
    ],
)
def test_wrong_images_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        draw_detections(image, Detections.empty((60, 80)))


@settings(max_examples=60, deadline=None)
@given(
    corner=st.tuples(st.integers(-50, 2050), st.integers(-50, 2050)),
    sides=st.tuples(st.integers(0, 500), st.integers(0, 500)),
    image_size=st.tuples(st.integers(100, 2000), st.integers(40, 2000)),
    name=st.text(min_size=1, max_size=40),
)
def test_labels_always_lie_inside_the_image(corner, sides, image_size, name):
    font = _font(SMALLEST_LETTERS)
    label = _shorten(f"{name} 0.87", font, image_size[0] - 4)
    size = _label_size(label, font)
    box = np.float32([*corner, corner[0] + sides[0], corner[1] + sides[1]])
    left, top, right, bottom = _place_label(box, size, image_size, [])
    assert 0 <= left < right <= image_size[0]
    assert 0 <= top < bottom <= image_size[1]
    assert (right - left, bottom - top) == size
    assert label.endswith("0.87")


def test_second_label_of_the_same_box_keeps_clear_of_the_first():
    box = np.float32([50, 50, 150, 150])
    first = _place_label(box, (60, 14), (200, 200), [])
    second = _place_label(box, (60, 14), (200, 200), [first])
    assert first == (50, 36, 110, 50)
    assert second == (50, 50, 110, 64)


def test_long_names_are_cut_and_scores_kept():
    font = _font(SMALLEST_LETTERS)
    short = _shorten("a very long class name 0.87", font, 90)
    assert short.startswith("a very") and short.endswith("… 0.87")
    assert font.getlength(short) <= 90
    assert _shorten("car 0.87", font, 90) == "car 0.87"
    assert _shorten("stop sign", font, 40).endswith("…")


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


def test_contact_sheet_sets_pictures_into_rows():
    pictures = [np.full((40, 60, 3), value, np.uint8) for value in (0, 50, 100)]
    sheet = contact_sheet(pictures, columns=2)
    assert sheet.shape == (2 * 40 + 3 * 4, 2 * 60 + 3 * 4, 3)
    assert [sheet[20, 30, 0], sheet[20, 100, 0], sheet[60, 30, 0], sheet[60, 100, 0]] == [0, 50, 100, 255]


def test_contact_sheet_shrinks_large_pictures_and_centres_small_ones():
    sheet = contact_sheet([np.zeros((1000, 2000), np.uint8), grey_image(10, 10)], columns=5, cell_size=(100, 100))
    assert sheet.shape == (100 + 8, 2 * 100 + 12, 3)
    black = (sheet == 0).all(axis=-1)
    assert black.sum() == 50 * 100
    assert (sheet[4 + 45 : 4 + 55, 108 + 45 : 108 + 55] == 100).all()


def test_contact_sheet_of_nothing_is_refused():
    with pytest.raises(ValueError, match="A contact sheet of 0 images in 3 columns"):
        contact_sheet([], columns=3)
