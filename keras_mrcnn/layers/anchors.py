"""Anchors: the boxes that the RPN scores and refines, the same for every image of a size.

Shapes: H W of a feature map, A anchors per cell, N anchors of all levels.
"""

import keras
import numpy as np
import tensorflow as tf


@keras.saving.register_keras_serializable("keras_mrcnn")
class AnchorGenerator(keras.layers.Layer):
    """Anchors of every level of a feature pyramid.

    Args:
        sizes: a tuple of sizes in pixels for each level; a size is the square root of an anchor's area.
        aspect_ratios: height / width, the same on every level.

    Call arguments:
        features: a list of maps [B, H, W, C], finest first; only their shapes are used.
        padded_size: int32 [2], height and width of the padded input in pixels.

    Returns:
        A list of float32 [H * W * A, 4], xyxy pixels, for each level; ordered by row, column, ratio, size; centred
        on column * stride, row * stride (no half cell); no gradient.

    Reference: Ren et al., Faster R-CNN, 2015, section 3.1.1; Lin et al., Feature Pyramid Networks, 2017,
        section 4.1. Rounding and stride as in torchvision.
    """

    def __init__(self, sizes, aspect_ratios, dtype="float32", **kwargs):
        super().__init__(dtype=dtype, autocast=False, **kwargs)
        self.sizes = tuple(tuple(level) for level in sizes)
        self.aspect_ratios = tuple(aspect_ratios)
        self.cells = [cell_anchors(level, self.aspect_ratios) for level in self.sizes]
        self.built = True  # it has no weights

    def call(self, features, padded_size):
        return [self._place(cell, fmap, padded_size) for cell, fmap in zip(self.cells, features)]

    @staticmethod
    def _place(cell, fmap, padded_size):
        grid = tf.shape(fmap)[1:3]
        strides = padded_size // grid
        rows = tf.cast(tf.range(grid[0]) * strides[0], tf.float32)
        columns = tf.cast(tf.range(grid[1]) * strides[1], tf.float32)
        y, x = tf.meshgrid(rows, columns, indexing="ij")
        centres = tf.stack([x, y, x, y], axis=-1)
        return tf.reshape(centres[:, :, None, :] + cell, [-1, 4])

    def get_config(self):
        return {**super().get_config(), "sizes": self.sizes, "aspect_ratios": self.aspect_ratios}


def cell_anchors(sizes, aspect_ratios):
    """Anchors of one cell around the origin, sides rounded to even numbers of pixels.

    Args:
        sizes: pixels, square root of the area.
        aspect_ratios: height / width.

    Returns:
        float32 [A, 4], xyxy pixels; ratios outside, sizes inside.

    Example:
        >>> cell_anchors([32], [0.5]).tolist()
        [[-23.0, -11.0, 23.0, 11.0]]
    """
    # float32 throughout: in float64 a half can fall on the other side of the rounding than in torchvision.
    heights = np.sqrt(np.asarray(aspect_ratios, np.float32))
    widths = 1 / heights
    sizes = np.asarray(sizes, np.float32)
    w = (widths[:, None] * sizes[None, :]).reshape(-1)
    h = (heights[:, None] * sizes[None, :]).reshape(-1)
    return np.round(np.stack([-w, -h, w, h], axis=1) / 2).astype(np.float32)
