"""Makes compact ground-truth masks: the S x S coverage inside the object's own box.

A full-size mask of an 800 x 1333 image takes 1 MB, and an image can have 300. So each mask is cropped to its (float)
ground-truth box and resampled to S x S cells by exact area averaging: a value, 0..255, is the share of the cell that
the object covers. Resizing the image moves the box and leaves these values alone; flipping reverses the columns. So
the compact mask is made once, from the original annotation, and serves every such augmentation.

The cost in accuracy of the training targets, measured on the 740 objects of coco-mini's training images (80 classes)
with RoIs jittered to an IoU of at least 0.5. Targets are 28 x 28, in 0..1; IoUs are of targets thresholded at 0.5:

    image    S  bytes an object  difference to exact  IoU  difference to torchvision  IoU  pasted back  torchvision's
    800 px   28        784         0.0139           0.985         0.0212            0.967     0.937         0.934
    800 px   56      3,136         0.0039           0.997         0.0142            0.973     0.938         0.934
    800 px  112     12,544         0.0010           0.999         0.0129            0.974     0.938         0.934
    256 px   28        784         0.0140           0.985         0.0413            0.929     0.937         0.912
    256 px   56      3,136         0.0040           0.997         0.0382            0.933     0.938         0.912
    256 px  112     12,544         0.0011           0.999         0.0380            0.933     0.938         0.912

"Exact" is the share of a bin that the original mask covers; torchvision's targets come from the full-size mask, which
it resizes by nearest neighbour. "Pasted back" is the mean IoU of the original mask with the target of its own box
pasted into the image, the best that a mask head could score. So with S = 56, the default, the remaining difference to
torchvision is torchvision's own rounding, and the compact targets keep the objects better. To measure again:

    python scripts/measure_masks.py coco-mini/annotations/instances_train.json coco-mini/images/train
"""

from __future__ import annotations

import numpy as np


def area_average(mask: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    """Returns the share of each cell of a size x size grid over a box that a mask covers, computed exactly.

    Args:
        mask: bool or uint8 0/1 [H, W]; pixel (y, x) covers [y, y + 1] x [x, x + 1].
        box: float [4], xyxy pixels, with an area; it may reach beyond the mask, where nothing is covered.
        size: cells along each side.

    Returns:
        float64 [size, size], 0..1.

    Example:
        >>> area_average(np.array([[0, 1]]), np.array([0.5, 0, 2, 1]), 1).round(3)
        array([[0.667]])
    """
    x1, y1, x2, y2 = (float(value) for value in box)
    left, top = max(int(np.floor(x1)), 0), max(int(np.floor(y1)), 0)
    # Only the pixels that the box touches matter.
    patch = mask[top : max(int(np.ceil(y2)), top), left : max(int(np.ceil(x2)), left)]
    if not patch.size:
        return np.zeros((size, size))
    rows = _average_rows(patch, y1 - top, y2 - top, size)
    return _average_rows(rows.T, x1 - left, x2 - left, size).T


def compact_mask(mask: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    """Returns the compact mask of an object: its mask inside the box, averaged over size x size cells.

    Args:
        mask: bool or uint8 0/1 [H, W], the full-size mask.
        box: float [4], xyxy pixels, with an area.
        size: cells along each side, S.

    Returns:
        uint8 [S, S], coverage of each cell, 0..255.

    Example:
        >>> compact_mask(np.eye(2, dtype=np.uint8), np.array([0, 0, 2, 2]), 2)
        array([[255,   0],
               [  0, 255]], dtype=uint8)
    """
    return np.round(255 * area_average(mask, box, size)).clip(0, 255).astype(np.uint8)


def _average_rows(values: np.ndarray, start: float, stop: float, num_cells: int) -> np.ndarray:
    """Averages rows [n, m] over equal cells of [start, stop]: float64 [num_cells, m]. Rows outside count as 0."""
    # Differences of cumulative sums. A product with a matrix of weights would be shorter, but BLAS starts its own
    # threads for it, and they slow down those of the pipeline.
    sums = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values, axis=0, out=sums[1:])
    edges = np.linspace(start, stop, num_cells + 1).clip(0, len(values))
    whole = np.minimum(edges.astype(int), len(values) - 1)
    until_edges = sums[whole] + (edges - whole)[:, None] * values[whole]
    return np.diff(until_edges, axis=0) * (num_cells / (stop - start))
