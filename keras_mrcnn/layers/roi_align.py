"""RoIAlign over a feature pyramid, by way of `tf.image.crop_and_resize`.

Shapes: B batch, H W C of a level, R RoIs, S output side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_mrcnn.ops import boxes as box_ops

# Sides of the maps that the box head and the mask head take.
BOX_POOL, MASK_POOL = 7, 14
SAMPLES = 2  # sampling points per axis and bin
CANONICAL_LEVEL = 4  # P4, the level of an RoI of the canonical side


@keras.saving.register_keras_serializable("keras_mrcnn")
class RoIAlign(keras.layers.Layer):
    """Layer that pools each RoI to a map of fixed size, from the level that suits the RoI's size.

    Args:
        output_size: S.
        strides: pixels per cell of each level, powers of two, finest first.
        canonical_side: pixels; an RoI with this side is pooled from P4. ImageNet's 224 suits inputs of 800 px and more.

    Call arguments:
        features: a list of float maps [B, H, W, C], one for each stride.
        rois: float32 [B, R, 4], xyxy pixels; no gradient flows into them.

    Returns:
        float32 [B, R, S, S, C]. The gradient flows to the features.

    Reference: He et al., Mask R-CNN, 2017, section 3; for the choice of levels Lin et al., Feature Pyramid Networks,
        2017, equation 1. The numerics are torchvision's with sampling ratio 2 and aligned=False.
    """

    def __init__(
        self,
        output_size: int,
        strides: Sequence[int],
        canonical_side: float = 224.0,
        dtype: Any = "float32",
        **kwargs: Any,
    ):
        super().__init__(dtype=dtype, **kwargs)
        self.output_size = output_size
        self.strides = tuple(strides)
        self.canonical_side = canonical_side
        self.built = True  # it has no weights

    def call(self, features: list[tf.Tensor], rois: tf.Tensor) -> tf.Tensor:
        """Returns the pooled maps of the RoIs."""
        shape = tf.shape(rois)
        flat = tf.reshape(tf.stop_gradient(rois), [-1, 4])
        image_index = tf.repeat(tf.range(shape[0]), shape[1])
        if len(features) == 1:
            pooled = self._align(features[0], flat / self.strides[0], image_index)
        else:
            levels = roi_levels(flat, self.strides, self.canonical_side)
            members = [tf.where(levels == level)[:, 0] for level in range(len(features))]
            pooled = tf.concat(
                [
                    self._align(fmap, tf.gather(flat, index) / stride, tf.gather(image_index, index))
                    for fmap, stride, index in zip(features, self.strides, members)
                ],
                axis=0,
            )
            order = tf.math.invert_permutation(tf.cast(tf.concat(members, axis=0), tf.int32))
            pooled = tf.gather(pooled, order)
        side = self.output_size
        return tf.reshape(pooled, [shape[0], shape[1], side, side, features[0].shape[-1]])

    def _align(self, fmap: tf.Tensor, boxes: tf.Tensor, image_index: tf.Tensor) -> tf.Tensor:
        """Pools boxes [R, 4], in cells of `fmap`, of the images int32 [R], to [R, S, S, C]."""
        # RoIAlign repeats the border up to one cell beyond the outermost cell centres, where crop_and_resize
        # already gives 0. Repeating one row and column on each side makes the two agree.
        last = tf.cast(tf.shape(fmap)[1:3] + 1, tf.float32)  # index of the last row and column of the padded map
        fmap = tf.pad(fmap, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="SYMMETRIC")
        start = boxes[:, :2]
        sides = tf.maximum(boxes[:, 2:] - start, 1.0)
        points = self.output_size * SAMPLES
        first_point = start + 1.0 + sides * (0.5 / points)
        last_point = start + 1.0 + sides * (1.0 - 0.5 / points)
        boxes_norm_yxyx = tf.concat([first_point[:, ::-1] / last, last_point[:, ::-1] / last], axis=1)
        crops = tf.image.crop_and_resize(fmap, boxes_norm_yxyx, image_index, [points, points])
        return tf.nn.avg_pool2d(crops, SAMPLES, SAMPLES, "VALID")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make this layer anew."""
        names = ("output_size", "strides", "canonical_side")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def roi_levels(rois: tf.Tensor, strides: Sequence[int], canonical_side: float = 224.0) -> tf.Tensor:
    """Returns the level from which each RoI is pooled.

    Args:
        rois: float32 [..., 4], xyxy pixels.
        strides: pixels per cell of each level, powers of two, finest first.
        canonical_side: pixels; an RoI with this side is pooled from P4.

    Returns:
        int32 [...], indices into `strides`.
    """
    first = len(bin(int(strides[0]))) - 3  # log2 of a power of two: stride 4 is P2
    side = tf.sqrt(tf.maximum(box_ops.area(rois), 0.0))
    level = tf.floor(CANONICAL_LEVEL + tf.math.log(side / canonical_side) / tf.math.log(2.0) + 1e-6)
    return tf.cast(tf.clip_by_value(level, first, first + len(strides) - 1), tf.int32) - first
