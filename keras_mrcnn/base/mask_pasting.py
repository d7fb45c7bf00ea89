"""Pastes small masks, which lie on a grid over their boxes, into the image.

A pasted mask is down @ values @ across^T: bilinear interpolation of the grid along each axis. Each row of the two
matrices has at most two weights above 0, and neighbouring rows use the same or the next cells. So the image is made a
few rows at a time, from the few rows of the grid that they touch: the soft values never leave the processor's cache,
and pixels outside the box cost nothing.

Shapes: D objects, M mask side, S side of a grid in cells (M, or M + 2 for padded masks), P and Q rows and columns of
the image that a grid covers, h and w height and width of the image.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

# (y, x, patch): a part of a pasted mask, and the row and column of its upper left pixel in the image.
MaskPatch = tuple[int, int, np.ndarray]

# This many soft values fit into the cache: 256 kB, or 60 rows of an image of 1,088 columns.
VALUES_AT_ONCE = 1 << 16
# OpenBLAS computes products of up to this many multiplications in the calling thread. Larger ones it shares among
# threads of its own, which gains nothing here and takes the processors away from a network that runs meanwhile.
MULTIPLICATIONS_AT_ONCE = 1 << 18


class Grid(NamedTuple):
    """Values on a grid, and the weights that spread them over image[y : y + P, x : x + Q].

    Args:
        y: first row in the image.
        x: first column in the image.
        down: float32 [P, S], the weight of each row of the grid in each row of the image.
        values: float32 [S, S].
        across: float32 [Q, S], the weights of the columns.
    """

    y: int
    x: int
    down: np.ndarray
    values: np.ndarray
    across: np.ndarray


def detection_grids(masks: np.ndarray, boxes: np.ndarray, image_size: tuple[int, int]) -> Iterator[Grid]:
    """Gives each detection's mask as a grid, padded by one cell, over its equally enlarged box, clipped to the image.

    The arithmetic on boxes is float32, as in torchvision.

    Args:
        masks: float32 [D, M, M], probabilities on a grid over the box.
        boxes: float32 [D, 4], xyxy pixels.
        image_size: (h, w).

    Yields:
        The `Grid` of each detection.

    Reference:
        torchvision `models/detection/roi_heads.py`, `paste_masks_in_image`.
    """
    height, width = image_size
    side = masks.shape[-1] + 2
    padded = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
    centres = (boxes[:, 2:] + boxes[:, :2]) * 0.5
    halves = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * (side / masks.shape[-1])
    corners = np.concatenate([centres - halves, centres + halves], axis=1).astype(np.int64)
    for mask, (x0, y0, x1, y1) in zip(padded, corners.tolist()):
        rows = np.arange(max(y0, 0), min(y1 + 1, height))
        columns = np.arange(max(x0, 0), min(x1 + 1, width))
        down = _interpolation(rows - y0 + 0.5, max(y1 - y0 + 1, 1), side)
        across = _interpolation(columns - x0 + 0.5, max(x1 - x0 + 1, 1), side)
        yield Grid(max(y0, 0), max(x0, 0), down, mask, across)


def coverage_grids(masks: np.ndarray, boxes: np.ndarray, image_size: tuple[int, int]) -> Iterator[Grid]:
    """Gives each ground truth's coverage, 0 to 1, as a grid over the pixels whose centres lie in its box.

    The grid is not padded, so a mask that fills its box fills it again when pasted.

    Args:
        masks: uint8 [D, M, M], coverage of the cells of a grid over the box, 0 to 255.
        boxes: float32 [D, 4], xyxy pixels.
        image_size: (h, w).

    Yields:
        The `Grid` of each ground truth.
    """
    height, width = image_size
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.astype(np.float64).tolist()):
        rows = _pixels_inside(y0, y1, height)
        columns = _pixels_inside(x0, x1, width)
        down = _interpolation(np.array(rows) + 0.5 - y0, y1 - y0, len(mask))
        across = _interpolation(np.array(columns) + 0.5 - x0, x1 - x0, len(mask))
        yield Grid(rows.start, columns.start, down, mask.astype(np.float32) / np.float32(255.0), across)


def patches(grids: Iterable[Grid], threshold: float | None) -> Iterator[MaskPatch]:
    """Gives each grid as the part of the image that it covers.

    Args:
        grids: grids of the objects.
        threshold: value above which a pixel belongs to the object; None gives the values themselves.

    Yields:
        (y, x, patch) of each grid; patch is bool [P, Q], or float32 without threshold.
    """
    for grid in grids:
        patch = np.empty((len(grid.down), len(grid.across)), _dtype(threshold))
        _spread(grid, threshold, patch)
        yield grid.y, grid.x, patch


def paste(grids: Iterable[Grid], count: int, image_size: tuple[int, int], threshold: float | None) -> np.ndarray:
    """Returns every grid in an image of its own, which is 0 elsewhere.

    Args:
        grids: grids of the objects.
        count: number of grids, D.
        image_size: (h, w).
        threshold: value above which a pixel belongs to the object; None gives the values themselves.

    Returns:
        bool [D, h, w], or float32 without threshold.
    """
    # The system supplies zeroed memory page by page when it is written to, so pixels outside the boxes cost nothing.
    pasted = np.zeros((count, *image_size), _dtype(threshold))
    for image, grid in zip(pasted, grids):
        _spread(grid, threshold, image[grid.y : grid.y + len(grid.down), grid.x : grid.x + len(grid.across)])
    return pasted


def encode(mask_patches: Iterable[MaskPatch], image_size: tuple[int, int]) -> Iterator[dict]:
    """Gives each mask as a COCO run-length code; holds only one buffer of the image's size. Needs pycocotools.

    Args:
        mask_patches: (y, x, patch) of each mask; patch is bool [P, Q].
        image_size: (h, w).

    Yields:
        Dict with size ([h, w]) and counts (str) of each mask.
    """
    from pycocotools import mask as coco_mask

    image = np.zeros(image_size, np.uint8, order="F")
    for y, x, patch in mask_patches:
        place = image[y : y + patch.shape[0], x : x + patch.shape[1]]
        place[...] = patch
        encoded = coco_mask.encode(image)
        place[...] = 0
        yield {"size": list(image_size), "counts": encoded["counts"].decode("ascii")}


def _spread(grid: Grid, threshold: float | None, out: np.ndarray) -> None:
    """Writes the interpolated values, or whether they exceed the threshold, into `out` [P, Q]."""
    columns = _columns(grid)
    rows = _rows_at_once(grid)
    for start in range(0, len(out), rows):
        down = grid.down[start : start + rows]
        used = np.flatnonzero(down[0] + down[-1])  # cell numbers only rise from row to row
        cells = slice(used[0], used[-1] + 1)
        place = out[start : start + rows]
        if threshold is None:
            np.matmul(down[:, cells], columns[cells], out=place)
        else:
            np.greater(down[:, cells] @ columns[cells], threshold, out=place)


def _columns(grid: Grid) -> np.ndarray:
    """Returns the grid's values in each column of the image: float32 [S, Q]."""
    side = len(grid.values)
    columns = np.empty((side, len(grid.across)), np.float32)
    at_once = max(MULTIPLICATIONS_AT_ONCE // side**2, 1)
    for start in range(0, len(grid.across), at_once):
        part = slice(start, start + at_once)
        np.matmul(grid.values, grid.across[part].T, out=columns[:, part])
    return columns


def _rows_at_once(grid: Grid) -> int:
    """Returns how many rows of the image to make at a time."""
    width = max(len(grid.across), 1)
    # R rows use R * density + 3 cells of each column at most, so R * width * (R * density + 3) multiplications.
    density = len(grid.values) / max(len(grid.down), 1)
    rows = (math.sqrt(9 + 4 * density * MULTIPLICATIONS_AT_ONCE / width) - 3) / (2 * density)
    return max(min(int(rows), VALUES_AT_ONCE // width), 1)


def _dtype(threshold: float | None) -> type:
    """Returns the dtype of masks that are pasted with this threshold."""
    return np.float32 if threshold is None else bool


def _interpolation(offsets: np.ndarray, length: float, side: int) -> np.ndarray:
    """Returns the float32 [P, side] matrix that interpolates `side` grid cells over `length` at P points.

    `offsets` are rising distances from the start, in the unit of `length`. Values lie at the centres of the cells, and
    the outermost values reach to the edge (as torch's bilinear `interpolate` with align_corners=False).
    """
    weights = np.zeros((len(offsets), side), np.float32)
    if not len(offsets):
        return weights
    places = np.clip(np.asarray(offsets, np.float64) * (side / length) - 0.5, 0.0, side - 1.0)
    lower = places.astype(np.int64)
    share = (places - lower).astype(np.float32)
    points = np.arange(len(offsets))
    weights[points, lower] = 1.0 - share
    weights[points, np.minimum(lower + 1, side - 1)] += share  # the last cell has no next one, but a share of 0
    return weights


def _pixels_inside(start: float, stop: float, size: int) -> range:
    """Returns the indices of the pixels in 0..size-1 whose centres lie in [start, stop)."""
    return range(max(int(np.ceil(start - 0.5)), 0), min(int(np.ceil(stop - 0.5)), size))
