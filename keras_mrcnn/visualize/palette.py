"""Colours that colour-blind people can tell apart: Okabe and Ito's for classes and labels, viridis for scores."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap

Colour = tuple[int, int, int]
# Okabe and Ito, "Color Universal Design" (2008), without black; neighbours differ most.
PALETTE: tuple[Colour, ...] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
)  # fmt: skip
GREY, WHITE = (190, 190, 190), (255, 255, 255)
# Without its darkest end: thin lines in it would be invisible on dark images.
SCORE_COLOURS = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0.15, 1.0, 256)), "scores")


def class_colour(label: int) -> Colour:
    """Returns the colour of class `label`, 1..K."""
    return PALETTE[(int(label) - 1) % len(PALETTE)]


def score_colours(scores: np.ndarray, lowest: float, highest: float) -> list[Colour]:
    """Returns a colour for each score, from dark blue at `lowest` to yellow at `highest`."""
    places = (np.asarray(scores, np.float64) - lowest) / max(highest - lowest, 1e-12)
    return [tuple(colour) for colour in SCORE_COLOURS(places, bytes=True)[:, :3].tolist()]


def choose_colours(
    numbers: np.ndarray, names: Sequence[str], colour_by: str, class_names: Sequence[str] | None
) -> list[Colour]:
    """Returns a colour for each object.

    Args:
        numbers: int [D], category ids or labels, which determine the colours if `class_names` is None.
        names: D class names.
        colour_by: "class", or "instance" to tell neighbouring objects of a class apart.
        class_names: all classes in the order of their colours.

    Raises:
        ValueError: `colour_by` is neither "class" nor "instance".
    """
    if colour_by not in ("class", "instance"):
        raise ValueError(f"colour_by is {colour_by!r}, expected 'class' or 'instance'.")
    if colour_by == "instance":
        places = list(range(len(names)))
    elif class_names is None:
        places = [number - 1 for number in numbers.tolist()]
    else:
        order = {name: place for place, name in enumerate(class_names)}
        places = [order.get(name, len(order)) for name in names]
    return [PALETTE[place % len(PALETTE)] for place in places]
