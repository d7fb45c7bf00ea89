"""Charts as plain records, which the template turns into SVG with the colours of the page.

A chart is as wide as a phone's screen, so its text has the same size everywhere. Series differ in colour and dashes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 380, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 368, 26, 208  # edges of the plot, in pixels
MOST_MARKED = 30  # a line with more points than this has no dots
LARGEST_DOT = 7.0
STYLES = 6  # number of styles in the style sheet

Tick = tuple[float, str]


@dataclass(frozen=True)
class Line:
    """A series of points.

    Args:
        name: of the series, for the legend.
        x, y: numbers of the points; NaN in y leaves a gap.
        style: number of the colour and dashes, 0 to 5.
        marked: whether each point has a dot, unless there are too many.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: int
    marked: bool = True


@dataclass(frozen=True)
class Axis:
    """An axis of a chart, which converts numbers to pixels.

    Args:
        label: says what the numbers are.
        low, high: the numbers at both ends.
        is_log: whether the scale is logarithmic.
        is_whole: whether only whole numbers get ticks.
    """

    label: str
    low: float
    high: float
    is_log: bool = False
    is_whole: bool = False

    def place(self, values: Sequence[float], first: float, last: float) -> np.ndarray:
        """Returns the positions of the values in pixels, float64, where `low` is at `first` and `high` at `last`."""
        values, low, high = np.asarray(values, np.float64), self.low, self.high
        if self.is_log:
            values, low, high = np.log(values), np.log(low), np.log(high)
        return first + (values - low) / (high - low) * (last - first)

    def ticks(self, first: float, last: float, most: int) -> list[Tick]:
        """Returns the positions in pixels and the text of about `most` round numbers."""
        if self.is_log:
            values = 2.0 ** np.arange(np.ceil(np.log2(self.low)), np.floor(np.log2(self.high)) + 1)
            values = values[:: max(1, -(-len(values) // most))]
        else:
            locator = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10], integer=self.is_whole, min_n_ticks=1)
            values = locator.tick_values(self.low, self.high)
        spare = 1e-9 * (self.high - self.low)
        values = values[(values >= self.low - spare) & (values <= self.high + spare)]
        return [(float(x), f"{value:,.10g}") for x, value in zip(self.place(values, first, last), values)]


@dataclass(frozen=True)
class Chart:
    """A chart as the template draws it; all positions are in pixels.

    Args:
        title: text above the chart.
        x_label, y_label: labels of the axes.
        x_ticks, y_ticks: position and text of each tick.
        paths: SVG path data and style of each line.
        dots: x, y, radius and style of each dot.
        guides: x and text of each vertical guide line.
        legend: name and style of each series; empty if there is only one.
    """

    title: str
    x_label: str
    y_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    paths: list[tuple[str, int]]
    dots: list[tuple[float, float, float, int]]
    guides: list[Tick]
    legend: list[tuple[str, int]]

    @property
    def description(self) -> str:
        """Returns a sentence that screen readers read in place of the chart."""
        names = ": " + ", ".join(name for name, _ in self.legend) if self.legend else ""
        return f"{self.title}. {self.y_label} by {self.x_label}{names}"


def line_chart(
    title: str, lines: Sequence[Line], x_axis: Axis, y_axis: Axis, guides: Mapping[str, float] | None = None
) -> Chart:
    """Makes a chart of lines. Lines with few points have a dot at each.

    Args:
        title: text above the chart.
        lines: the series.
        x_axis, y_axis: the axes.
        guides: dict of text to x of vertical guide lines.
    """
    paths, dots = [], []
    for line in lines:
        x, y = _points(line.x, line.y, x_axis, y_axis)
        paths.append((_path(x, y), line.style))
        is_finite = np.isfinite(y)
        if line.marked and len(x) <= MOST_MARKED:
            dots += [(float(a), float(b), 2.5, line.style) for a, b in zip(x[is_finite], y[is_finite])]
    return _chart(title, x_axis, y_axis, paths, dots, [(line.name, line.style) for line in lines], guides)


def step_chart(
    title: str,
    edges: np.ndarray,
    groups: Mapping[str, np.ndarray],
    x_axis: Axis,
    y_label: str,
    guides: Mapping[str, float] | None = None,
) -> Chart:
    """Makes a chart of histograms, drawn as outlines: the percentage of each group's values between two edges.

    Args:
        title: text above the chart.
        edges: float [E + 1], the edges of the E bins.
        groups: dict of name to values, float [P]; groups without values are left out.
        x_axis: the axis of the values.
        y_label: label of the axis of percentages.
        guides: dict of text to x of vertical guide lines.
    """
    shares = {
        name: 100 * np.histogram(values, edges)[0] / len(values) for name, values in groups.items() if len(values)
    }
    highest = max((share.max() for share in shares.values()), default=1.0)
    x = np.repeat(edges, 2)
    styles = dict(zip(groups, range(STYLES)))
    lines = [
        Line(name, x, np.concatenate([[0.0], np.repeat(share, 2), [0.0]]), styles[name], marked=False)
        for name, share in shares.items()
    ]
    return line_chart(title, lines, x_axis, Axis(y_label, 0.0, max(1.08 * highest, 1e-9)), guides)


def dot_chart(title: str, groups: Mapping[str, np.ndarray], x_axis: Axis, y_axis: Axis) -> Chart:
    """Makes a chart with a dot for each distinct point of each group; its area tells how often the point occurs.

    Args:
        title: text above the chart.
        groups: dict of name to points, float [P, 2], x and y.
        x_axis, y_axis: the axes.
    """
    dots = []
    for style, points in enumerate(groups.values()):
        places, counts = np.unique(points, axis=0, return_counts=True)
        x, y = _points(places[:, 0], places[:, 1], x_axis, y_axis)
        radii = np.maximum(LARGEST_DOT * np.sqrt(counts / counts.max(initial=1)), 2.0)
        dots += [(float(a), float(b), float(radius), style) for a, b, radius in zip(x, y, radii)]
    dots.sort(key=lambda dot: -dot[2])
    return _chart(title, x_axis, y_axis, [], dots, [(name, style) for style, name in enumerate(groups)], None)


def _chart(
    title: str,
    x_axis: Axis,
    y_axis: Axis,
    paths: list[tuple[str, int]],
    dots: list[tuple[float, float, float, int]],
    legend: list[tuple[str, int]],
    guides: Mapping[str, float] | None,
) -> Chart:
    """Makes a chart, with the ticks of its axes."""
    return Chart(
        title=title,
        x_label=x_axis.label,
        y_label=y_axis.label,
        x_ticks=x_axis.ticks(LEFT, RIGHT, 6),
        y_ticks=y_axis.ticks(BOTTOM, TOP, 5),
        paths=paths,
        dots=dots,
        guides=[(float(x_axis.place([x], LEFT, RIGHT)[0]), text) for text, x in (guides or {}).items()],
        legend=legend if len(legend) > 1 else [],
    )


def _points(x: Sequence[float], y: Sequence[float], x_axis: Axis, y_axis: Axis) -> tuple[np.ndarray, np.ndarray]:
    """Returns x and y of points in pixels."""
    return x_axis.place(x, LEFT, RIGHT), y_axis.place(y, BOTTOM, TOP)


def _path(x: np.ndarray, y: np.ndarray) -> str:
    """Returns SVG path data through the points, with gaps where y is not finite."""
    parts, pen_is_down = [], False
    for a, b in zip(x, y):
        if np.isfinite(b):
            parts.append(f"{'L' if pen_is_down else 'M'}{a:.1f} {b:.1f}")
        pen_is_down = bool(np.isfinite(b))
    return "".join(parts)
