"""Labels: in the picture, cut where needed, never one over another."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from keras_mrcnn.visualize.canvas import SMALLEST_LETTERS
from keras_mrcnn.visualize.labels import draw_labels, label_size, load_font, place_label, shorten
from keras_mrcnn.visualize.palette import PALETTE


@settings(max_examples=60, deadline=None)
@given(
    corner=st.tuples(st.integers(-50, 2050), st.integers(-50, 2050)),
    sides=st.tuples(st.integers(0, 500), st.integers(0, 500)),
    image_size=st.tuples(st.integers(100, 2000), st.integers(40, 2000)),
    name=st.text(min_size=1, max_size=40),
)
def test_labels_always_lie_inside_the_image(corner, sides, image_size, name):
    font = load_font(SMALLEST_LETTERS)
    label = shorten(f"{name} 0.87", font, image_size[0] - 4)
    size = label_size(label, font)
    box = np.float32([*corner, corner[0] + sides[0], corner[1] + sides[1]])
    left, top, right, bottom = place_label(box, size, image_size, [])
    assert 0 <= left < right <= image_size[0]
    assert 0 <= top < bottom <= image_size[1]
    assert (right - left, bottom - top) == size
    assert label.endswith("0.87")


def test_second_label_of_the_same_box_keeps_clear_of_the_first():
    box = np.float32([50, 50, 150, 150])
    first = place_label(box, (60, 14), (200, 200), [])
    second = place_label(box, (60, 14), (200, 200), [first])
    assert first == (50, 36, 110, 50)
    assert second == (50, 50, 110, 64)


def test_long_names_are_cut_and_scores_kept():
    font = load_font(SMALLEST_LETTERS)
    short = shorten("a very long class name 0.87", font, 90)
    assert short.startswith("a very") and short.endswith("… 0.87")
    assert font.getlength(short) <= 90
    assert shorten("car 0.87", font, 90) == "car 0.87"
    assert shorten("stop sign", font, 40).endswith("…")


def test_label_without_room_is_left_out():
    box = np.float32([0, 0, 60, 20])
    taken = [(0, 0, 60, 14), (0, 6, 60, 20)]
    assert place_label(box, (60, 14), (60, 20), taken) is None
    assert place_label(box, (61, 14), (60, 20), []) is None
    assert place_label(box, (60, 21), (60, 20), []) is None


def test_first_label_wins_where_there_is_room_for_one():
    picture = Image.new("RGB", (60, 16))
    draw_labels(ImageDraw.Draw(picture), np.zeros((2, 4)), PALETTE[:2], ["one 0.90", "two 0.80"], SMALLEST_LETTERS)
    colours = {tuple(pixel) for pixel in np.asarray(picture).reshape(-1, 3).tolist()}
    assert PALETTE[0] in colours and PALETTE[1] not in colours


def test_tall_box_offers_places_down_its_side():
    box = np.float32([10, 0, 30, 100])
    taken = []
    for _ in range(8):
        taken.append(place_label(box, (60, 10), (100, 100), taken))
    assert None not in taken and len(set(taken)) == 8


def test_label_hides_no_small_object_at_the_border():
    assert place_label(np.float32([20, 0, 40, 9]), (60, 14), (200, 200), []) == (20, 9, 80, 23)
    assert place_label(np.float32([20, 0, 40, 90]), (60, 14), (200, 200), []) == (20, 0, 80, 14)
