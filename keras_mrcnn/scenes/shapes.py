"""Shapes of which generated scenes are made: polygons in unit coordinates, and how they become pixels.

A shape is a list of `Part`s, drawn in order, later ones over earlier ones. Coordinates are free units, x to the
right and y down; `rasterise` turns, mirrors and scales them, so that a shape says nothing about pixels. A part
names a paint (a small number), not a colour: colours come later and from one distribution for everything.

Shape letters: H W height and width in pixels, P paints, n points.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw


class Part(NamedTuple):
    """One filled polygon of a shape.

    Args:
        points: float64 [n, 2], x and y in free units.
        paint: index of the paint that fills it, 0 and up.
    """

    points: np.ndarray
    paint: int


class Sprite(NamedTuple):
    """A rasterised shape, cropped to its own box.

    Args:
        coverage: float32 [P, H, W], the share of each pixel that each paint covers, 0..1.
        mask: bool [H, W], the pixels of which the shape covers at least half.
    """

    coverage: np.ndarray
    mask: np.ndarray


def polygon(paint, *points):
    """Returns a part with the given corners, each an (x, y) pair."""
    return Part(np.asarray(points, np.float64), paint)


def rectangle(paint, left, top, right, bottom):
    """Returns an upright rectangle as a part."""
    return polygon(paint, (left, top), (right, top), (right, bottom), (left, bottom))


def ellipse(paint, x, y, radius_x, radius_y=None, angle=0.0):
    """Returns an ellipse (a disc without `radius_y`) turned by `angle` radians as a part of 28 corners."""
    turn = np.linspace(0.0, 2 * np.pi, 28, endpoint=False)
    points = np.stack([np.cos(turn) * radius_x, np.sin(turn) * (radius_x if radius_y is None else radius_y)], axis=1)
    return Part(points @ _rotation(angle).T + (x, y), paint)


def limb(paint, start, end, radius_start, radius_end=None):
    """Returns a rounded bar from `start` to `end` with the given radii at its ends (one radius: both alike)."""
    radius_end = radius_start if radius_end is None else radius_end
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    heading = np.arctan2(end[1] - start[1], end[0] - start[0])
    front = heading + np.linspace(-np.pi / 2, np.pi / 2, 9)
    back = front + np.pi
    return Part(
        np.concatenate(
            [
                end + radius_end * np.stack([np.cos(front), np.sin(front)], axis=1),
                start + radius_start * np.stack([np.cos(back), np.sin(back)], axis=1),
            ]
        ),
        paint,
    )


def step(point, length, angle):
    """Returns the point `length` away from `point`; angle 0 is straight down, positive towards +x, radians."""
    return np.asarray(point, np.float64) + length * np.array([np.sin(angle), np.cos(angle)])


def rasterise(parts, side, *, angle=0.0, mirror=False, stretch=1.0):
    """Draws a shape so that the longer side of its box is `side` pixels.

    Args:
        parts: list of `Part`, at least one.
        side: longer side of the box, pixels.
        angle: turn in radians, clockwise as seen.
        mirror: whether to swap left and right.
        stretch: factor on the width before the turn.

    Returns:
        A `Sprite`, anti-aliased by supersampling (2 to 4 times an axis).

    Example:
        >>> int(rasterise([rectangle(0, 0, 0, 2, 1)], 20).mask.sum())
        200
    """
    factor = 4 if side < 48 else 3 if side < 96 else 2
    spread = np.diag([-stretch if mirror else stretch, 1.0])
    points = [part.points @ (_rotation(angle) @ spread).T for part in parts]
    corners = np.concatenate(points)
    low, high = corners.min(axis=0), corners.max(axis=0)
    scale = side / (high - low).max()
    width, height = np.maximum(np.ceil((high - low) * scale - 1e-6), 1).astype(int)
    canvas = Image.new("L", (int(width) * factor, int(height) * factor))
    draw = ImageDraw.Draw(canvas)
    for part, corner in zip(parts, points):
        # PIL fills the pixels that a corner touches: half a (fine) pixel less keeps areas true.
        draw.polygon([tuple(xy) for xy in (corner - low) * scale * factor - 0.5], fill=int(part.paint) + 1)
    labels = np.asarray(canvas)
    num_paints = max(part.paint for part in parts) + 1
    chosen = labels == np.arange(1, num_paints + 1, dtype=np.uint8)[:, None, None]
    coverage = chosen.reshape(num_paints, height, factor, width, factor).mean(axis=(2, 4), dtype=np.float32)
    return Sprite(coverage, coverage.sum(axis=0) >= 0.5)


def _rotation(angle):
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]])
