"""Shapes of generated scenes: polygons in free units, and their conversion to pixels.

A shape is a list of `Part`s, drawn in order, later parts over earlier ones. Coordinates have no unit; x points right
and y down. `rasterise` rotates, mirrors and scales them to pixels. A part has the number of a paint, not a colour;
colours come later, from one distribution for everything.

Shapes of arrays: H and W height and width in pixels, P paints, n points.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw


class Part(NamedTuple):
    """One filled polygon of a shape.

    Args:
        points: float64 [n, 2], (x, y) of the corners in free units.
        paint: number of the paint that fills the polygon, from 0.
    """

    points: np.ndarray
    paint: int


class Sprite(NamedTuple):
    """A rasterised shape, cropped to its box.

    Args:
        coverage: float32 [P, H, W], share of each pixel that each paint covers, 0..1.
        mask: bool [H, W], pixels that the shape covers to at least one half.
    """

    coverage: np.ndarray
    mask: np.ndarray


def polygon(paint: int, *points: Sequence[float] | np.ndarray) -> Part:
    """Returns a polygon with the given corners, each (x, y)."""
    return Part(np.asarray(points, np.float64), paint)


def rectangle(paint: int, left: float, top: float, right: float, bottom: float) -> Part:
    """Returns an upright rectangle."""
    return polygon(paint, (left, top), (right, top), (right, bottom), (left, bottom))


def ellipse(paint: int, x: float, y: float, radius_x: float, radius_y: float | None = None, angle: float = 0.0) -> Part:
    """Returns an ellipse, a disc without `radius_y`, as a polygon of 28 corners rotated by `angle` radians."""
    turn = np.linspace(0.0, 2 * np.pi, 28, endpoint=False)
    points = np.stack([np.cos(turn) * radius_x, np.sin(turn) * (radius_x if radius_y is None else radius_y)], axis=1)
    return Part(points @ _rotation(angle).T + (x, y), paint)


def limb(
    paint: int,
    start: Sequence[float] | np.ndarray,
    end: Sequence[float] | np.ndarray,
    radius_start: float,
    radius_end: float | None = None,
) -> Part:
    """Returns a bar from `start` to `end` with round ends; `radius_end` defaults to `radius_start`."""
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


def step(point: Sequence[float] | np.ndarray, length: float, angle: float) -> np.ndarray:
    """Returns the point at distance `length` from `point`; `angle` is in radians from straight down towards +x."""
    return np.asarray(point, np.float64) + length * np.array([np.sin(angle), np.cos(angle)])


def rasterise(
    parts: Sequence[Part], side: float, *, angle: float = 0.0, mirror: bool = False, stretch: float = 1.0
) -> Sprite:
    """Draws a shape so that the longer side of its box is `side` pixels.

    Args:
        parts: parts of the shape, at least one.
        side: longer side of the box, pixels.
        angle: rotation in radians, clockwise as seen.
        mirror: whether to mirror the shape left to right.
        stretch: factor on the width before the rotation.

    Returns:
        The `Sprite`, anti-aliased by supersampling (2 to 4 times along each axis).

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
        # Pillow fills every pixel that a corner touches; the shift by half a (fine) pixel keeps areas right.
        draw.polygon([tuple(xy) for xy in (corner - low) * scale * factor - 0.5], fill=int(part.paint) + 1)
    labels = np.asarray(canvas)
    num_paints = max(part.paint for part in parts) + 1
    chosen = labels == np.arange(1, num_paints + 1, dtype=np.uint8)[:, None, None]
    coverage = chosen.reshape(num_paints, height, factor, width, factor).mean(axis=(2, 4), dtype=np.float32)
    return Sprite(coverage, coverage.sum(axis=0) >= 0.5)


def _rotation(angle: float) -> np.ndarray:
    """Returns the matrix of a rotation by `angle` radians: float64 [2, 2]."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]])
