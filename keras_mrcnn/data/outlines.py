"""Turns masks into outlines along the edges of their pixels, and several outlines into one polygon.

Corners have whole-number coordinates: pixel (x, y) covers the square from (x, y) to (x + 1, y + 1), as in COCO. So
every program that fills the pixels whose centres lie inside an outline, as pycocotools does, gives the same mask back.

Shapes: H W of a mask, P points of an outline.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

DISTANCES_AT_ONCE = 1 << 16  # 512 kB, which the processor's cache holds


class Outline(NamedTuple):
    """A closed line around a part of a mask or around a hole in it.

    Args:
        points: int [P, 2], x and y of the corners; the last one is joined to the first. Around a part they go
            clockwise in the picture, around a hole the other way.
        is_hole: whether the line goes around a hole.
    """

    points: np.ndarray
    is_hole: bool


def mask_outlines(mask: np.ndarray) -> list[Outline]:
    """Traces the outlines of a mask along pixel edges.

    Pixels that touch at a corner belong to one part; pixels of the background that do so do not belong to one hole.

    Args:
        mask: bool or uint8 [H, W], not 0 where the object is.

    Returns:
        List of the `Outline`s, from top to bottom; empty for an empty mask.

    Example:
        >>> ring = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])
        >>> [(outline.points.tolist(), outline.is_hole) for outline in mask_outlines(ring)]
        [([[0, 0], [3, 0], [3, 3], [0, 3]], False), ([[1, 2], [2, 2], [2, 1], [1, 1]], True)]
    """
    xs, ys, above_or_below, fills = _corners(np.asarray(mask, bool))
    is_new = [True] * len(xs)
    outlines = []
    for start in range(len(xs)):
        if not is_new[start]:
            continue
        chain, corner = [], start
        while is_new[corner]:
            beside = corner ^ 1
            chain += [corner, beside]
            is_new[corner] = is_new[beside] = False
            corner = above_or_below[beside]
        # Nothing of this line lies above or left of its start, so what is inside begins there.
        is_hole = not fills[start]
        points = np.stack([xs[chain], ys[chain]], axis=1)
        outlines.append(Outline(points[::-1] if is_hole else points, is_hole))
    return outlines


def _corners(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[int], list[bool]]:
    """Finds the corners of all outlines, row by row from left to right.

    Along each row of the pixel grid the corners are joined in pairs: 0 with 1, 2 with 3 and so on, and in the same way
    along each column. Where two pixels touch at a corner, two corners lie on one point.

    Returns:
        x and y of the corners, int [N] each; the number of the corner that each is joined to along its column; whether
        the pixel to the lower right of it belongs to the object.
    """
    padded = np.pad(mask, 1)
    upper_left, upper_right = padded[:-1, :-1], padded[:-1, 1:]
    lower_left, lower_right = padded[1:, :-1], padded[1:, 1:]
    touching = (upper_left == lower_right) & (upper_right == lower_left) & (upper_left != upper_right)
    count = (upper_left ^ upper_right ^ lower_left ^ lower_right) + 2 * touching.astype(np.int8)
    ys, xs = np.nonzero(count)
    repeats = count[ys, xs]
    is_second = np.zeros(repeats.sum(), bool)
    is_second[np.cumsum(repeats)[repeats == 2] - 1] = True
    ys, xs = np.repeat(ys, repeats), np.repeat(xs, repeats)
    # Of two corners on a point the first ends an edge from the left, the second begins one to the right. The lines turn
    # so that they keep both pixels of the object on one side.
    is_lower = is_second ^ (upper_left & touching)[ys, xs]
    by_column = np.lexsort((is_lower, ys, xs))
    partners = np.empty(len(xs), np.int64)
    partners[by_column[0::2]], partners[by_column[1::2]] = by_column[1::2], by_column[0::2]
    return xs, ys, partners.tolist(), lower_right[ys, xs].tolist()


def joined_polygon(outlines: Sequence[np.ndarray]) -> np.ndarray:
    """Joins closed lines to one by bridges that are walked there and back, so that they enclose nothing.

    Each bridge joins the two nearest corners, so all of them together are as short as possible. A polygon fill by the
    even-odd rule gives the same pixels as for the separate lines, holes included.

    Args:
        outlines: at least one closed line, [P, 2] each, x and y.

    Returns:
        [Q, 2], the points of the one line.

    Example:
        >>> squares = [np.array([[x, 0], [x + 1, 0], [x + 1, 1], [x, 1]]) for x in (0, 3)]
        >>> joined_polygon(squares).tolist()
        [[0, 0], [1, 0], [3, 0], [4, 0], [4, 1], [3, 1], [3, 0], [1, 0], [1, 1], [0, 1]]
    """
    points = np.concatenate(outlines)
    starts = np.cumsum([0, *map(len, outlines)])
    owners = np.repeat(np.arange(len(outlines)), np.diff(starts))
    walk = list(range(starts[1]))
    distances = np.full(len(points), np.inf)
    nearest = np.zeros(len(points), np.int64)
    joined = 0
    for _ in outlines[1:]:
        distances[owners == joined] = np.inf
        owners[owners == joined] = -1
        _update_nearest(points, owners, range(starts[joined], starts[joined + 1]), distances, nearest)
        corner = int(distances.argmin())
        joined = int(owners[corner])
        place = walk.index(int(nearest[corner]))
        detour = [*range(corner, starts[joined + 1]), *range(starts[joined], corner + 1)]
        walk[place + 1 : place + 1] = [*detour, walk[place]]
    line = points[walk]
    return line[(line != np.roll(line, 1, axis=0)).any(axis=1)] if len(outlines) > 1 else line


def _update_nearest(
    points: np.ndarray, owners: np.ndarray, new: range, distances: np.ndarray, nearest: np.ndarray
) -> None:
    """Compares the corners of lines that are still to be joined (owners >= 0) with those of the line just joined."""
    rest = np.flatnonzero(owners >= 0)
    xs, ys = points[new.start : new.stop].T.astype(np.float32)
    step = max(DISTANCES_AT_ONCE // len(xs), 1)
    for first in range(0, len(rest), step):
        some = rest[first : first + step]
        x, y = points[some].T.astype(np.float32)
        squares = (x[:, None] - xs) ** 2 + (y[:, None] - ys) ** 2
        best = squares.argmin(axis=1)
        found = squares[np.arange(len(some)), best]
        closer = found < distances[some]
        distances[some[closer]] = found[closer]
        nearest[some[closer]] = best[closer] + new.start
