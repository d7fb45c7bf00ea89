"""Measures how well the anchors fit the objects, before any training.

Shapes: G objects.
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
        config: settings of the model.

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
    """Returns the sizes of images once they are resized for the model, before padding.

    Args:
        image_sizes: int [G, 2], height and width of each original image.
        config: settings of the model.

    Returns:
        int [G, 2], height and width of each resized image.
    """
    height, width = np.asarray(image_sizes, np.int32).T
    return np.stack(resized_size(height, width, config.min_size, config.max_size), axis=-1)


def scale_boxes(boxes: np.ndarray, old_sizes: np.ndarray, new_sizes: np.ndarray) -> np.ndarray:
    """Scales boxes as their images are resized.

    Args:
        boxes: float [G, 4], xyxy pixels of the images at their old sizes.
        old_sizes, new_sizes: int [G, 2], height and width of each box's image before and after.

    Returns:
        float [G, 4], xyxy pixels of the images at their new sizes.
    """
    ratio = np.asarray(new_sizes) / np.asarray(old_sizes)
    return boxes * ratio[:, [1, 0, 1, 0]]


def _grids(padded: np.ndarray, neck: str) -> list[np.ndarray]:
    """Returns the numbers of rows and columns of each level, int [G, 2] each: P2 to P6 of a pyramid, or C4."""
    if neck == "c4":
        return [padded // 16]
    levels = [padded // stride for stride in (4, 8, 16, 32)]
    return [*levels, (levels[-1] + 1) // 2]


def _best_of_grid(boxes: np.ndarray, anchor: np.ndarray, grid: np.ndarray, strides: np.ndarray) -> np.ndarray:
    """Returns the best IoU of each box with an anchor [4] that is centred on every cell of the box's grid in turn.

    For a given anchor the IoU grows with the intersection, which is greatest at the cell nearest to the centre of the
    box: there the overlap is greatest along both x and y.
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
    """Returns the greatest overlap along one axis of [low, high] with cell - half to cell + half, over all cells."""
    nearest = np.clip(np.round((low + high) / 2 / stride), 0, cells - 1) * stride
    return np.clip(np.minimum(high, nearest + half) - np.maximum(low, nearest - half), 0, None)
