"""How well the anchors fit the objects, before anything is learnt.

Shapes: G objects, A anchors of a cell.
"""

from __future__ import annotations

import numpy as np

from keras_mrcnn.base.image_size import resized_size
from keras_mrcnn.config import ModelConfig
from keras_mrcnn.layers.anchors import cell_anchors
from keras_mrcnn.ops.images import SIZE_MULTIPLE


def best_anchor_ious(boxes: np.ndarray, image_sizes: np.ndarray, config: ModelConfig) -> np.ndarray:
    """Returns the best IoU that any anchor has with each object, once the image is resized for the model.

    Args:
        boxes: float [G, 4], xyxy pixels of the original images.
        image_sizes: int [G, 2], height and width of each object's original image.
        config: of the model.

    Returns:
        float64 [G], 0 to 1.

    Reference: Ren et al., Faster R-CNN, 2015, section 3.1.2.
    """
    best = np.zeros(len(boxes))
    if not len(boxes):
        return best
    sizes = resized_sizes(image_sizes, config)
    boxes = scale_boxes(boxes, image_sizes, sizes)
    padded = -(-sizes // SIZE_MULTIPLE) * SIZE_MULTIPLE
    for grid, level_sizes in zip(_grids(padded, config.neck.kind), config.anchor_sizes):
        for anchor in cell_anchors(level_sizes, config.rpn.aspect_ratios):
            best = np.maximum(best, _best_of_grid(boxes, anchor, grid, padded // grid))
    return best


def resized_sizes(image_sizes: np.ndarray, config: ModelConfig) -> np.ndarray:
    """Returns the size int [G, 2] at which the model sees images of these sizes, int [G, 2], before padding."""
    height, width = np.asarray(image_sizes, np.int32).T
    return np.stack(resized_size(height, width, config.min_size, config.max_size), axis=-1)


def scale_boxes(boxes: np.ndarray, old_sizes: np.ndarray, new_sizes: np.ndarray) -> np.ndarray:
    """Moves boxes float [G, 4] along with the resize of their images, each from one size [2] to another."""
    ratio = np.asarray(new_sizes) / np.asarray(old_sizes)
    return boxes * ratio[:, [1, 0, 1, 0]]


def _grids(padded: np.ndarray, neck: str) -> list[np.ndarray]:
    """Rows and columns of every level, int [G, 2] each: P2 to P6 of a pyramid, or C4."""
    if neck == "c4":
        return [padded // 16]
    levels = [padded // stride for stride in (4, 8, 16, 32)]
    return [*levels, (levels[-1] + 1) // 2]


def _best_of_grid(boxes: np.ndarray, anchor: np.ndarray, grid: np.ndarray, strides: np.ndarray) -> np.ndarray:
    """The best IoU of each box with an anchor [4] that stands, centred, at every cell of the box's grid.

    For a given anchor the IoU grows with the intersection, and that is greatest where the overlap is greatest along x
    and along y: at the cell nearest to the centre of the box.
    """
    overlap_y, overlap_x = (
        _best_overlap(boxes[:, axis], boxes[:, axis + 2], anchor[axis + 2], grid[:, 1 - axis], strides[:, 1 - axis])
        for axis in (1, 0)
    )
    intersection = overlap_x * overlap_y
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return intersection / (areas + (anchor[2] - anchor[0]) * (anchor[3] - anchor[1]) - intersection)


def _best_overlap(
    low: np.ndarray, high: np.ndarray, half: float, cells: np.ndarray, stride: np.ndarray
) -> np.ndarray:
    """The greatest overlap of [low, high] with a side of twice `half` around any of the cells, along one axis."""
    nearest = np.clip(np.round((low + high) / 2 / stride), 0, cells - 1) * stride
    return np.clip(np.minimum(high, nearest + half) - np.maximum(low, nearest - half), 0, None)
