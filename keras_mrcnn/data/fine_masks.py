"""Makes fine ground-truth masks: the outline of an object, filled on a grid that may be finer than the pixels.

A compact mask fits an object whose image is resized or mirrored. If an image is cropped or rotated, or parts of it are
covered, the object's outline decides. It is kept as a mask around the object whose pixels are split until the longer
side has `FINE_SIDE` cells, so that small objects keep the detail of their polygons.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Union

import numpy as np
from pycocotools import mask as mask_api

# Pixels are split until the longer side of the object has this many cells, but into at most 8 x 8.
FINE_SIDE = 256
LARGEST_FACTOR = 8


class FineMask(NamedTuple):
    """A mask around one object.

    Attributes:
        left, top: pixel of the image at which `cells` begins.
        factor: cells along each side of a pixel.
        cells: bool [h, w], whether the object covers each cell; h and w are multiples of `factor`.

    Example:
        >>> FineMask(left=10, top=20, factor=2, cells=np.ones((4, 6), bool)).frame
        (10, 20, 2, 4, 6)
    """

    left: int
    top: int
    factor: int
    cells: np.ndarray

    @property
    def frame(self) -> tuple[int, int, int, int, int]:
        """Returns (left, top, factor, h, w), which places the cells in the image."""
        return self.left, self.top, self.factor, *self.cells.shape


def fine_mask(segmentation: Union[list, dict], height: int, width: int) -> FineMask:
    """Fills the outline of an object.

    Args:
        segmentation: polygons or run-length code, as in a COCO annotation; `segmentations.segmentation_fault` has found
            no fault.
        height, width: size of the image, pixels.

    Returns:
        `FineMask` that reaches just beyond the object, but not beyond the image. A run-length code has no detail below
        a pixel, so its factor is 1.

    Example:
        >>> mask = fine_mask([[2, 1, 4, 1, 4, 3, 2, 3]], 10, 10)
        >>> mask.frame, bool(mask.cells.all())
        ((2, 1, 8, 16, 16), True)
    """
    if isinstance(segmentation, dict):
        return _from_code(segmentation, height, width)
    points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in segmentation])
    limits = np.array([width, height])
    left, top = np.floor(points.min(axis=0)).clip(0, limits - 1).astype(int).tolist()
    right, bottom = np.ceil(points.max(axis=0)).clip([left + 1, top + 1], limits).astype(int).tolist()
    factor = min(max(math.ceil(FINE_SIDE / max(right - left, bottom - top)), 1), LARGEST_FACTOR)
    moved = [((np.reshape(polygon, (-1, 2)) - [left, top]) * factor).ravel().tolist() for polygon in segmentation]
    codes = mask_api.frPyObjects(moved, (bottom - top) * factor, (right - left) * factor)
    return FineMask(left, top, factor, mask_api.decode(mask_api.merge(codes)).astype(bool))


def _from_code(code: dict, height: int, width: int) -> FineMask:
    """Returns the `FineMask` of a run-length code, compressed or not."""
    packed = mask_api.frPyObjects(code, height, width) if isinstance(code["counts"], list) else code
    # pycocotools rounds nothing here: the box of a mask is made of whole pixels.
    left, top, columns, rows = (int(value) for value in mask_api.toBbox(packed))
    mask = mask_api.decode(packed)[top : top + max(rows, 1), left : left + max(columns, 1)]
    return FineMask(left, top, 1, mask.astype(bool))
