"""Charts as plain records; the template turns them into SVG whose colours follow the page.

A chart is as wide as a phone's screen, so that its letters are read at one size everywhere. Series differ by colour and
by dashes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 380, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 368, 26, 208  # of the plot, in pixels
MOST_MARKED = 30  # points of a line, up to which each has a dot
LARGEST_DOT = 7.0
STYLES = 6  # that the style sheet knows

Tick = tuple[float, str]


@dataclass(frozen=True)
class Line:
    """A series of points; NaN leaves a gap. `style` chooses colour and dashes, 0 to 5."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: int
    marked: bool = True


@dataclass(frozen=True)
class Axis:
    """From numbers to pixels.

    Args:
        label: what the numbers are.
        low, high: the numbers at both ends.
        is_log: whether steps are factors.
        is_whole: whether only whole numbers get ticks.
    """

    label: str
    low: float
    high: float
    is_log: bool = False
    is_whole: bool = False

    def place(self, values: Sequence[float], first: float, last: float) -> np.ndarray:
        """Pixels float64 for the values, of which `low` is at `first` and `high` at `last`."""
        values, low, high = np.asarray(values, np.float64), self.low, self.high
        if self.is_log:
            values, low, high = np.log(values), np.log(low), np.log(high)
        return first + (values - low) / (high - low) * (last - first)

    def ticks(self, first: float, last: float, most: int) -> list[Tick]:
        """Where a few round numbers are, and how they are written."""
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
    """What the template needs to draw a chart; all places in pixels.

    Args:
        title: above the chart.
        x_label, y_label: of the axes.
        x_ticks, y_ticks: places and numbers.
        paths: SVG path data and style of each line.
        dots: x, y, radius and style of each dot.
        guides: x and text of upright helping lines.
        legend: name and style of each series, where there are several.
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
        """What is read aloud instead of the chart."""
        names = ": " + ", ".join(name for name, _ in self.legend) if self.legend else ""
        return f"{self.title}. {self.y_label} by {self.x_label}{names}"


def line_chart(
    title: str, lines: Sequence[Line], x_axis: Axis, y_axis: Axis, guides: Mapping[str, float] | None = None
) -> Chart:
    """Draws lines; those with few points get a dot at each."""
    paths, dots = [], []
    for line in lines:
        x, y = _points(line.x, line.y, x_axis, y_axis)
        paths.append((_path(x, y), line.style))
        shown = np.isfinite(y)
        if line.marked and len(x) <= MOST_MARKED:
            dots += [(float(a), float(b), 2.5, line.style) for a, b in zip(x[shown], y[shown])]
    return _chart(title, x_axis, y_axis, paths, dots, [(line.name, line.style) for line in lines], guides)


def step_chart(
    title: str,
    edges: np.ndarray,
    groups: Mapping[str, np.ndarray],
    x_axis: Axis,
    y_label: str,
    guides: Mapping[str, float] | None = None,
) -> Chart:
    """Draws histograms as outlines: the share, in percent, of each group's values between two edges.

    Args:
        edges: float [E + 1].
        groups: dict of name to values, float [P]; groups without values are left out.
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
    """Draws a dot for each different point of each group, its area by how often it occurs there; large dots first.

    Args:
        groups: dict of name to points, float [P, 2], x and y.
    """
    dots = []
    for style, points in enumerate(groups.values()):
        places, counts = np.unique(points, axis=0, return_counts=True)
        x, y = _points(places[:, 0], places[:, 1], x_axis, y_axis)
        radii = np.maximum(LARGEST_DOT * np.sqrt(counts / counts.max(initial=1)), 2.0)
        dots += [(float(a), float(b), float(radius), style) for a, b, radius in zip(x, y, radii)]
    dots.sort(key=lambda dot: -dot[2])
    return _chart(title, x_axis, y_axis, [], dots, [(name, style) for style, name in enumerate(groups)], None)


def _chart(title, x_axis, y_axis, paths, dots, legend, guides) -> Chart:
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


def _points(x, y, x_axis: Axis, y_axis: Axis) -> tuple[np.ndarray, np.ndarray]:
    return x_axis.place(x, LEFT, RIGHT), y_axis.place(y, BOTTOM, TOP)


def _path(x: np.ndarray, y: np.ndarray) -> str:
    """SVG path data through the points, with gaps where y is not finite."""
    parts, pen_is_down = [], False
    for a, b in zip(x, y):
        if np.isfinite(b):
            parts.append(f"{'L' if pen_is_down else 'M'}{a:.1f} {b:.1f}")
        pen_is_down = bool(np.isfinite(b))
    return "".join(parts)
