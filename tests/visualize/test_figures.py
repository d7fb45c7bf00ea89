"""Figures: no text is clipped or lies on other text or on a picture; nothing outlives its user."""

import dataclasses
import gc
import weakref

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib._pylab_helpers import Gcf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from visualize.made_outputs import make_views, with_nothing_found, without_ground_truth

from keras_mrcnn import visualize
from keras_mrcnn.visualize.figures import ColourBar, Panel, counted, panel_figure, text_width, wrap
from keras_mrcnn.visualize.palette import SCORE_COLOURS

VERBS = [name for name in visualize.__all__ if name.startswith("show_") or name == "stage_panels"]


def resized(outputs, height, width):
    """The same objects in the upper left corner of a larger image, or cut by a smaller one."""
    size = (height, width)
    return dataclasses.replace(
        outputs,
        image=np.full((*size, 3), 100, np.uint8),
        ground_truth=dataclasses.replace(outputs.ground_truth, image_size=size),
        detections=dataclasses.replace(outputs.detections, image_size=size),
    )


def assert_legible(figure):
    """All text is inside the figure, clear of other text and of the pictures."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.texts if text.get_text()]
    assert boxes
    for number, (box, text) in enumerate(zip(boxes, figure.texts)):
        assert text.get_fontsize() >= 8
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert inside, f"{text.get_text()!r} is clipped"
        for other in [*boxes[:number], *(axes.bbox for axes in figure.axes)]:
            apart = box.x1 <= other.x0 or other.x1 <= box.x0 or box.y1 <= other.y0 or other.y1 <= box.y0
            assert apart, f"{text.get_text()!r} lies on something else"


def test_all_verbs_are_known():
    assert len(VERBS) == 9


@pytest.mark.parametrize("verb", VERBS)
def test_text_is_legible_at_every_size_of_image(verb):
    outputs = make_views()
    for shown in (outputs, resized(outputs, 3000, 4000), resized(outputs, 900, 40), resized(outputs, 40, 900)):
        figure = getattr(visualize, verb)(shown)
        assert isinstance(figure, Figure)
        assert_legible(figure)
        width, height = figure.get_size_inches()
        assert width < 12 and height < 18


@pytest.mark.parametrize("verb", VERBS)
def test_text_is_legible_where_there_is_nothing(verb):
    for shown in (with_nothing_found(make_views()), without_ground_truth(make_views())):
        assert_legible(getattr(visualize, verb)(shown))


def test_long_and_strange_names_are_legible():
    names = ("a very long name of a class that nobody can read in one glance " * 3, "$\\frac{dog}$\n_%")
    outputs = make_views()
    found = dataclasses.replace(outputs.detections, class_names=names)
    truth = dataclasses.replace(outputs.ground_truth, class_names=names)
    outputs = dataclasses.replace(outputs, class_names=names, detections=found, ground_truth=truth)
    for verb in VERBS:
        assert_legible(getattr(visualize, verb)(outputs))


def test_user_settings_of_matplotlib_change_nothing():
    with matplotlib.rc_context({"font.size": 40, "text.usetex": True, "axes.grid": True, "figure.facecolor": "red"}):
        other = visualize.show_proposals(make_views())
        assert_legible(other)
    picture, expected = (figure._repr_png_() for figure in (other, visualize.show_proposals(make_views())))
    assert picture == expected and picture.startswith(b"\x89PNG")


def test_figures_belong_to_their_user_alone():
    figure = visualize.stage_panels(make_views())
    figure._repr_png_()
    watched = weakref.ref(figure)
    del figure
    gc.collect()
    assert watched() is None and not Gcf.figs


def test_panels_fill_rows():
    picture = np.zeros((200, 400, 3), np.uint8)  # 2 x 1 inches
    figure = panel_figure([Panel(picture, "one")] * 3, columns=2)
    places = [axes.get_position() for axes in figure.axes]
    width, height = figure.get_size_inches()
    assert [round(place.width * width, 6) for place in places] == [2, 2, 2]
    assert [round(place.height * height, 6) for place in places] == [1, 1, 1]
    assert places[0].y0 == places[1].y0 > places[2].y1 and places[0].x0 == places[2].x0 < places[1].x0
    assert width == pytest.approx(2 * 2 + 3 * 0.15)


def test_colour_bar_has_numbers_at_its_ends():
    figure = panel_figure(
        [Panel(np.zeros((400, 400, 3), np.uint8), "one")], 1, bar=ColourBar(SCORE_COLOURS, 0.99, 0.994, "score")
    )
    words = [text.get_text() for text in figure.texts]
    assert words == ["one", "0.9900", "0.9910", "0.9920", "0.9930", "0.9940", "score"]
    colours = np.asarray(figure.axes[-1].images[0].get_array())
    assert colours[0, 0].sum() > colours[-1, 0].sum()  # the highest on top
    assert_legible(figure)


@given(text=st.text("ab 漢W\n", max_size=80), width=st.floats(0.3, 3))
def test_wrapped_lines_fit_and_lose_no_letter(text, width):
    lines = wrap(text, width, 10)
    assert all(text_width(line, 10) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_counts_are_words():
    assert [counted(number, "object") for number in (0, 1, 12345)] == ["0 objects", "1 object", "12,345 objects"]
