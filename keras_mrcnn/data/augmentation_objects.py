"""Maps annotated objects to a new image: fills their outlines there, and makes their boxes and compact masks.

A silhouette is the visible part of an object, in pixels of the canvas on which its image is placed. For small objects
each pixel is split into factor x factor parts, so that boxes and compact masks keep the detail of the outline.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Union

import numpy as np
from pycocotools import mask as mask_api

from keras_mrcnn.data.augmentation_maps import corners_of, extent, inverse_map, keeps_axes, map_points
from keras_mrcnn.data.compact_masks import compact_mask

# Corner points (x, y) of each polygon, float64 [n, 2], or a mask, bool or uint8 0/1 [H, W].
Outline = Union[Sequence[np.ndarray], np.ndarray]
# Pixels are split until the longer side of the object has this many parts, but into at most 8 x 8.
_FINE_SIDE = 128
_LARGEST_FACTOR = 8
# Objects are dropped below these: the side of the box in pixels, and the share that pasted objects leave visible.
LEAST_SIDE = 1.0
LEAST_VISIBLE = 0.05


class Silhouette(NamedTuple):
    """The visible part of an object on a canvas.

    Attributes:
        box: float64 [4], xyxy pixels of the canvas, around the whole object as far as it lies on the canvas.
        left, top: pixel of the canvas at which `parts` begins.
        factor: parts along each side of a pixel.
        parts: bool [h * factor, w * factor], the visible parts of h x w pixels.
    """

    box: np.ndarray
    left: int
    top: int
    factor: int
    parts: np.ndarray

    @property
    def area(self) -> float:
        """Returns the visible area in pixels of the canvas."""
        return np.count_nonzero(self.parts) / self.factor**2

    @property
    def window(self) -> tuple[slice, slice]:
        """Returns the rows and columns of the canvas that `parts` covers."""
        height, width = (side // self.factor for side in self.parts.shape)
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def fill_outline(
    outline: Outline, box: np.ndarray, matrix: np.ndarray, image_size: tuple[int, int], canvas_size: tuple[int, int]
) -> Silhouette:
    """Maps an object's outline to a canvas and fills it there.

    Args:
        outline: polygons, or a mask of the image's size.
        box: float [4], xyxy pixels of the image, as annotated.
        matrix: float64 [2, 3], from pixels of the image to pixels of the canvas.
        image_size, canvas_size: (h, w).

    Returns:
        Silhouette of the object; its `parts` are empty if the object lies outside the canvas.
    """
    limits = np.tile(canvas_size[::-1], 2)
    footprint = map_points(matrix, corners_of(np.array([0, 0, *image_size[::-1]])))
    around = extent(_mapped_outline(outline, matrix))
    # Without rotation the annotated box is the most exact; a rotated box is not the box of the rotated object.
    whole = extent(map_points(matrix, corners_of(box))) if keeps_axes(matrix) else around
    longest = max(around[2] - around[0], around[3] - around[1], 1.0)
    factor = int(np.clip(np.ceil(_FINE_SIDE / longest), 1, _LARGEST_FACTOR))
    around = around.clip(0, limits)
    left, top = np.floor(around[:2]).astype(int).tolist()
    width, height = (np.ceil(around[2:]).astype(int) - [left, top]).tolist()
    if width < 1 or height < 1:
        parts = np.zeros((0, 0), bool)
    elif isinstance(outline, np.ndarray):
        parts = _sample_mask(outline, matrix, left, top, width, height, factor)
    else:
        polygons = [(map_points(matrix, polygon) - [left, top]) * factor for polygon in outline]
        edge = (footprint - [left, top]) * factor
        parts = _fill_polygons(polygons, edge, height * factor, width * factor)
    return Silhouette(whole.clip(0, limits), left, top, factor, parts)


def cover(silhouette: Silhouette, covered: np.ndarray) -> Silhouette:
    """Returns a silhouette without the pixels that something else covers.

    Args:
        silhouette: the object.
        covered: bool [h, w], covered pixels of the canvas.
    """
    hidden = covered[silhouette.window]
    if not hidden.any():
        return silhouette
    fine = hidden.repeat(silhouette.factor, axis=0).repeat(silhouette.factor, axis=1)
    return silhouette._replace(parts=silhouette.parts & ~fine)


def covered_pixels(silhouettes: Sequence[Silhouette], canvas_size: tuple[int, int]) -> np.ndarray:
    """Returns the pixels of the canvas that any silhouette fills to at least one half: bool [h, w]."""
    covered = np.zeros(canvas_size, bool)
    for silhouette in silhouettes:
        place, factor = covered[silhouette.window], silhouette.factor
        place |= silhouette.parts.reshape(place.shape[0], factor, place.shape[1], factor).mean(axis=(1, 3)) >= 0.5
    return covered


def visible_box(silhouette: Silhouette) -> np.ndarray | None:
    """Returns the box of the visible part of an object.

    A side of the box keeps its exact place unless the object is cut off there; then it moves to the outermost visible
    part.

    Returns:
        float64 [4], xyxy pixels of the canvas; None if less than one pixel is visible or a side of the box is below
        `LEAST_SIDE`.
    """
    if silhouette.area < 1:
        return None
    columns, rows = (np.flatnonzero(silhouette.parts.any(axis=axis)) for axis in (0, 1))
    ends = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    seen = ends / silhouette.factor + np.tile([silhouette.left, silhouette.top], 2)
    box = np.where(np.abs(seen - silhouette.box) <= 1 / silhouette.factor, silhouette.box, seen)
    return None if is_degenerate(box) else box


def is_degenerate(boxes: np.ndarray) -> np.ndarray:
    """Returns whether boxes, float [..., 4] xyxy, have a side below `LEAST_SIDE`: bool [...]."""
    return (boxes[..., 2:] - boxes[..., :2] < LEAST_SIDE).any(axis=-1)


def silhouette_mask(silhouette: Silhouette, box: np.ndarray, size: int) -> np.ndarray:
    """Returns the compact mask of a silhouette on its box: uint8 [size, size], coverage 0..255."""
    origin = np.tile([silhouette.left, silhouette.top], 2)
    return compact_mask(silhouette.parts, (box - origin) * silhouette.factor, size)


def _mapped_outline(outline: Outline, matrix: np.ndarray) -> np.ndarray:
    """Returns mapped points [n, 2] with the same extent as the mapped outline."""
    if not isinstance(outline, np.ndarray):
        return map_points(matrix, np.concatenate(outline))
    rows = np.flatnonzero(outline.any(axis=1))
    if not len(rows):
        return map_points(matrix, np.zeros((1, 2)))
    # The outer corners of the first and the last pixel of each row.
    first = outline[rows].argmax(axis=1)
    last = outline.shape[1] - outline[rows][:, ::-1].argmax(axis=1)
    corners = [np.stack([x, y], axis=1) for x in (first, last) for y in (rows, rows + 1)]
    return map_points(matrix, np.concatenate(corners))


def _fill_polygons(polygons: list[np.ndarray], edge: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns the pixels whose centres lie in a polygon and inside the image's edge: bool [height, width]."""
    codes = mask_api.frPyObjects([polygon.ravel().tolist() for polygon in polygons], height, width)
    image = mask_api.merge(mask_api.frPyObjects([edge.ravel().tolist()], height, width))
    # Annotated outlines may reach beyond their image, but the object cannot be visible there.
    return mask_api.decode(mask_api.merge([mask_api.merge(codes), image], intersect=True)).astype(bool)


def _sample_mask(
    mask: np.ndarray, matrix: np.ndarray, left: int, top: int, width: int, height: int, factor: int
) -> np.ndarray:
    """Returns a mask's value at the centre of every part of a pixel: bool [height * factor, width * factor]."""
    back = inverse_map(matrix)
    x = left + (np.arange(width * factor) + 0.5) / factor
    y = top + (np.arange(height * factor)[:, None] + 0.5) / factor
    columns, rows = (np.floor(a * x + b * y + c).astype(np.int32) for a, b, c in back)
    inside = (columns >= 0) & (columns < mask.shape[1]) & (rows >= 0) & (rows < mask.shape[0])
    return mask[np.where(inside, rows, 0), np.where(inside, columns, 0)].astype(bool) & inside
