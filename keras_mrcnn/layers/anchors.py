"""Anchors: the boxes that the RPN scores and refines. All images of one size share them.

Shapes: H W of a feature map, A anchors per cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf


@keras.saving.register_keras_serializable("keras_mrcnn")
class AnchorGenerator(keras.layers.Layer):
    """Layer that makes the anchors of every level of a feature pyramid.

    Args:
        sizes: a tuple of sizes in pixels for each level; a size is the square root of an anchor's area.
        aspect_ratios: height / width, the same on every level.

    Call arguments:
        features: a list of maps [B, H, W, C], finest first; only their shapes matter.
        padded_size: int32 [2], height and width of the padded input in pixels.

    Returns:
        A list with a float32 [H * W * A, 4] for each level, xyxy pixels, ordered by row, column, ratio and size. The
        centres are (column * stride, row * stride), without an offset of half a cell. No gradient.

    Reference: Ren et al., Faster R-CNN, 2015, section 3.1.1; Lin et al., Feature Pyramid Networks, 2017,
        section 4.1. Rounding and stride as in torchvision.
    """

    def __init__(
        self, sizes: Sequence[Sequence[float]], aspect_ratios: Sequence[float], dtype: Any = "float32", **kwargs: Any
    ):
        super().__init__(dtype=dtype, autocast=False, **kwargs)
        self.sizes = tuple(tuple(level) for level in sizes)
        self.aspect_ratios = tuple(aspect_ratios)
        self.cells = [cell_anchors(level, self.aspect_ratios) for level in self.sizes]
        self.built = True  # it has no weights

    def call(self, features: list[tf.Tensor], padded_size: tf.Tensor) -> list[tf.Tensor]:
        """Returns the anchors of each level."""
        return [self._place(cell, fmap, padded_size) for cell, fmap in zip(self.cells, features)]

    @staticmethod
    def _place(cell: np.ndarray, fmap: tf.Tensor, padded_size: tf.Tensor) -> tf.Tensor:
        """Repeats the anchors of one cell, [A, 4], at every cell of a map: [H * W * A, 4]."""
        grid = tf.shape(fmap)[1:3]
        strides = padded_size // grid
        rows = tf.cast(tf.range(grid[0]) * strides[0], tf.float32)
        columns = tf.cast(tf.range(grid[1]) * strides[1], tf.float32)
        y, x = tf.meshgrid(rows, columns, indexing="ij")
        centres = tf.stack([x, y, x, y], axis=-1)
        return tf.reshape(centres[:, :, None, :] + cell, [-1, 4])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make this layer anew."""
        return {**super().get_config(), "sizes": self.sizes, "aspect_ratios": self.aspect_ratios}


def cell_anchors(sizes: Sequence[float], aspect_ratios: Sequence[float]) -> np.ndarray:
    """Returns the anchors of one cell, centred on the origin, with sides rounded to even numbers of pixels.

    Args:
        sizes: square roots of the anchors' areas, in pixels.
        aspect_ratios: height / width.

    Returns:
        float32 [A, 4], xyxy pixels: every size of the first ratio, then of the next.

    Example:
        >>> cell_anchors([32], [0.5]).tolist()
        [[-23.0, -11.0, 23.0, 11.0]]
    """
    # float32 throughout, as in torchvision: in float64 some halves would round the other way.
    heights = np.sqrt(np.asarray(aspect_ratios, np.float32))
    widths = 1 / heights
    sizes = np.asarray(sizes, np.float32)
    w = (widths[:, None] * sizes[None, :]).reshape(-1)
    h = (heights[:, None] * sizes[None, :]).reshape(-1)
    return np.round(np.stack([-w, -h, w, h], axis=1) / 2).astype(np.float32)
