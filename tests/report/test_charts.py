import math

import numpy as np

from keras_mrcnn.report import charts
from keras_mrcnn.report.charts import Axis, Line, dot_chart, line_chart, step_chart

UNIT = Axis("recall", 0.0, 1.0)


def test_axis_places_and_ticks():
    axis = Axis("epoch", 1, 5, is_whole=True)
    np.testing.assert_allclose(axis.place([1, 3, 5], 0, 100), [0, 50, 100])
    assert axis.ticks(0, 100, 6) == [(0, "1"), (25, "2"), (50, "3"), (75, "4"), (100, "5")]
    assert [text for _, text in Axis("px", 0, 4200).ticks(0, 1, 5)] == ["0", "1,000", "2,000", "3,000", "4,000"]


def test_logarithmic_axis():
    axis = Axis("px", 4, 64, is_log=True)
    np.testing.assert_allclose(axis.place([4, 16, 64], 0, 100), [0, 50, 100])
    assert [text for _, text in axis.ticks(0, 100, 6)] == ["4", "8", "16", "32", "64"]
    assert [text for _, text in axis.ticks(0, 100, 3)] == ["4", "16", "64"]


def test_line_with_a_gap():
    chart = line_chart("AP", [Line("box", [0, 0.5, 1], [1.0, math.nan, 0.0], 1)], UNIT, Axis("precision", 0.0, 1.0))
    left, right, top, bottom = (float(x) for x in (charts.LEFT, charts.RIGHT, charts.TOP, charts.BOTTOM))
    assert chart.paths == [(f"M{left} {top}M{right} {bottom}", 1)]
    assert [dot[:2] for dot in chart.dots] == [(left, top), (right, bottom)]
    assert chart.legend == [] and chart.description == "AP. precision by recall"


def test_legend_of_two_lines():
    chart = line_chart("AP", [Line(name, [0, 1], [0, 1], 0) for name in "ab"], UNIT, UNIT, {"half": 0.5})
    assert chart.legend == [("a", 0), ("b", 0)] and chart.description.endswith(": a, b")
    assert chart.guides == [((charts.LEFT + charts.RIGHT) / 2, "half")]


def test_long_lines_have_no_dots():
    x = np.linspace(0, 1, charts.MOST_MARKED + 1)
    assert line_chart("", [Line("", x, x, 0)], UNIT, UNIT).dots == []


def test_steps_are_shares_of_each_group():
    groups = {"none": np.array([]), "some": np.array([0.1, 0.2, 0.3, 0.9])}
    chart = step_chart("IoU", np.array([0, 0.5, 1]), groups, UNIT, "%")
    ((path, style),) = chart.paths
    assert style == 1  # a group keeps its colour, whether others are empty or not
    heights = [float(point.split()[1]) for point in path[1:].split("L")]
    top = charts.TOP + (charts.BOTTOM - charts.TOP) * (1 - 1 / 1.08)
    low = charts.BOTTOM - (charts.BOTTOM - charts.TOP) / 1.08 / 3
    np.testing.assert_allclose(heights, [charts.BOTTOM, top, top, low, low, charts.BOTTOM], atol=0.05)


def test_steps_of_nothing():
    assert step_chart("IoU", np.array([0, 1]), {"none": np.array([])}, UNIT, "%").paths == []


def test_dots_grow_with_their_number():
    points = np.array([[0, 0], [1, 1], [1, 1], [1, 1], [1, 1]], float)
    dots = dot_chart("sizes", {"train": points, "val": points[:1]}, UNIT, UNIT).dots
    assert [(radius, style) for _, _, radius, style in dots] == [(7.0, 0), (7.0, 1), (3.5, 0)]
    assert dot_chart("sizes", {"train": np.zeros((0, 2))}, UNIT, UNIT).dots == []
