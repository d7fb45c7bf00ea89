"""Makes figures of titled pictures. Text is measured and wrapped in advance, so that none is clipped.

All lengths are in inches. The figures are made without pyplot, which would keep them alive after their last use.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from keras_mrcnn.visualize.labels import load_font, shorten
from keras_mrcnn.visualize.palette import Colour, class_colour

RASTER_DPI = 200  # pixels per inch of a panel's picture; the figure itself has fewer, which makes lines smooth
FIGURE_DPI = 150
GAP = 0.15
TITLE_POINTS, SMALL_POINTS = 10, 8
NARROWEST = 1.9  # width of a column; titles need room above narrow pictures too
BAR_WIDTH, BAR_ROOM, LOWEST_BAR = 0.16, 0.8, 0.5
LETTER_DPI, SPARE = 720, 1.03  # text is measured at ten times its size, and 3 % are added


class StageFigure(Figure):
    """A matplotlib `Figure` that notebooks show as a picture without pyplot or `%matplotlib inline`."""

    def _repr_png_(self) -> bytes:
        """Returns the figure as PNG, for notebooks."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


@dataclass(frozen=True)
class Panel:
    """A picture uint8 [H, W, 3], with `RASTER_DPI` pixels per inch, and its title."""

    picture: np.ndarray
    title: str

    @property
    def size(self) -> tuple[float, float]:
        """Returns the width and height of the picture."""
        return self.picture.shape[1] / RASTER_DPI, self.picture.shape[0] / RASTER_DPI


@dataclass(frozen=True)
class ColourBar:
    """The colour bar to the right of the panels: its colours, the numbers at its ends, and its label."""

    colours: ListedColormap
    lowest: float
    highest: float
    label: str


def panel_figure(
    panels: Sequence[Panel],
    columns: int,
    legend: Sequence[tuple[Colour, str]] = (),
    bar: ColourBar | None = None,
) -> Figure:
    """Arranges panels in rows, with an optional legend below and an optional colour bar on the right.

    Args:
        panels: one or more panels.
        columns: number of panels in a row.
        legend: colours and their meanings.
        bar: colour bar of the scores.

    Returns:
        `Figure` with 150 dots per inch, as large as its content.
    """
    columns = min(columns, len(panels))
    column = max(NARROWEST, *(panel.size[0] for panel in panels))
    titles = [wrap(panel.title, column, TITLE_POINTS) for panel in panels]
    rows = [range(first, min(first + columns, len(panels))) for first in range(0, len(panels), columns)]
    title_heights = [max(len(titles[i]) for i in row) * line_height(TITLE_POINTS) + 0.06 for row in rows]
    lowest = LOWEST_BAR if bar else 0.0
    heights = [title + max(lowest, *(panels[i].size[1] for i in row)) for title, row in zip(title_heights, rows)]
    width = columns * (column + GAP) + GAP
    entries = _legend_rows(legend, width - 2 * GAP)
    below = len(entries) * (line_height(SMALL_POINTS) + 0.06) + (GAP if entries else 0)
    height = sum(heights) + (len(rows) + 1) * GAP + below
    figure = StageFigure(figsize=(width + (BAR_ROOM if bar else 0), height), dpi=FIGURE_DPI, facecolor="white")
    top = height - GAP
    for row, title_height, row_height in zip(rows, title_heights, heights):
        for place, number in enumerate(row):
            left = GAP + place * (column + GAP)
            _set_panel(figure, panels[number], titles[number], (left, top, column, title_height))
        top -= row_height + GAP
    _set_legend(figure, entries, below)
    if bar is not None:
        _set_bar(figure, bar, (width, below + GAP, height - GAP - title_heights[0]))
    return figure


def set_text(figure: Figure, x: float, y: float, text: str, points: int, **alignment: str) -> None:
    """Writes a line of text literally, in the same font under all settings of matplotlib.

    Args:
        figure: the figure to write into.
        x, y: position from the bottom left corner.
        text: the line.
        points: size of the letters.
        **alignment: `ha` and `va` of matplotlib.
    """
    width, height = figure.get_size_inches()
    font = {"fontfamily": "DejaVu Sans", "fontsize": points, "color": "black", "usetex": False, "parse_math": False}
    figure.text(x / width, y / height, text, **font, **alignment)


def line_height(points: int) -> float:
    """Returns the height of a line of text."""
    return 1.3 * points / 72


def text_width(text: str, points: int) -> float:
    """Returns the width of a line of text, with a small margin."""
    return SPARE * load_font(10 * points).getlength(text) / LETTER_DPI


def wrap(text: str, width: float, points: int) -> list[str]:
    """Wraps a text into lines of at most `width`. Line breaks are kept, and words that are too long are broken."""
    lines = []
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split(" "):
            while text_width(word, points) > width and len(word) > 1:
                fits = next(n for n in range(len(word) - 1, 0, -1) if n == 1 or text_width(word[:n], points) <= width)
                lines += [line, word[:fits]] if line else [word[:fits]]
                line, word = "", word[fits:]
            longer = f"{line} {word}" if line else word
            if text_width(longer, points) <= width or not line:
                line = longer
            else:
                lines.append(line)
                line = word
        lines.append(line)
    return lines


def class_legend(class_names: Sequence[str], drawn: Iterable[str]) -> list[tuple[Colour, str]]:
    """Returns the legend of the classes in `drawn`, in the order of `class_names`."""
    drawn = set(drawn)
    return [(class_colour(label), name) for label, name in enumerate(class_names, start=1) if name in drawn]


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun, such as "1 object" or "12,345 objects"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _set_panel(figure: Figure, panel: Panel, title: list[str], place: tuple[float, float, float, float]) -> None:
    """Places a panel, centred, in its column (left, top, width, height of the titles)."""
    left, top, column, title_height = place
    width, height = panel.size
    spare = title_height - len(title) * line_height(TITLE_POINTS)
    for number, line in enumerate(title):
        y = top - spare - number * line_height(TITLE_POINTS)
        set_text(figure, left + column / 2, y, line, TITLE_POINTS, ha="center", va="top")
    _set_picture(figure, panel.picture, (left + (column - width) / 2, top - title_height - height, width, height))


def _set_picture(figure: Figure, picture: np.ndarray, place: tuple[float, float, float, float]) -> None:
    """Draws a picture that fills a rectangle (left, bottom, width, height)."""
    across, up = figure.get_size_inches()
    left, bottom, width, height = place
    axes = figure.add_axes((left / across, bottom / up, width / across, height / up))
    axes.imshow(picture, aspect="auto", interpolation="antialiased")
    axes.set_axis_off()


def _legend_rows(legend: Sequence[tuple[Colour, str]], width: float) -> list[list[tuple[float, Colour, str]]]:
    """Returns the rows of a legend: distance from the left, colour and text of each entry, cut to `width`."""
    rows, used = [], math.inf
    for colour, text in legend:
        text = shorten(text, load_font(10 * SMALL_POINTS), int((width - 0.3) * LETTER_DPI / SPARE))
        needed = 0.3 + text_width(text, SMALL_POINTS)
        if used + needed > width:
            rows.append([])
            used = 0.0
        rows[-1].append((used, colour, text))
        used += needed + 0.2
    return rows


def _set_legend(figure: Figure, rows: list[list[tuple[float, Colour, str]]], top: float) -> None:
    """Draws the rows of a legend from `top` downwards, each entry as a bar of its colour and a text."""
    across, up = figure.get_size_inches()
    for number, row in enumerate(rows):
        middle = top - (number + 0.5) * (line_height(SMALL_POINTS) + 0.06)
        for x, colour, text in row:
            corner = ((GAP + x) / across, (middle - 0.05) / up)
            sample = Rectangle(corner, 0.22 / across, 0.1 / up, facecolor=np.array(colour) / 255, edgecolor="black")
            sample.set_linewidth(0.5)
            figure.add_artist(sample)
            set_text(figure, GAP + x + 0.3, middle, text, SMALL_POINTS, ha="left", va="center")


def _set_bar(figure: Figure, bar: ColourBar, place: tuple[float, float, float]) -> None:
    """Draws the colour bar at (left, bottom, top), at most 3 inches high, with its numbers and label."""
    left, bottom, top = place
    bottom = max(bottom, top - 3.0)
    colours = (bar.colours(np.linspace(1, 0, 256), bytes=True)[:, None, :3]).repeat(2, axis=1)
    _set_picture(figure, colours, (left, bottom, BAR_WIDTH, top - bottom))
    digits = 2 if bar.highest - bar.lowest >= 0.05 else 4
    for share in np.linspace(0, 1, 5 if top - bottom > 0.8 else 2):
        number = f"{bar.lowest + share * (bar.highest - bar.lowest):.{digits}f}"
        y = bottom + share * (top - bottom)
        set_text(figure, left + BAR_WIDTH + 0.05, y, number, SMALL_POINTS, ha="left", va="center")
    set_text(figure, left, top + 0.1, bar.label, SMALL_POINTS, ha="left", va="bottom")
