"""From the RPN's scores and deltas to proposals.

Shapes: B batch, N anchors of a level, R proposals.
"""

from __future__ import annotations

import collections
from typing import Any

import keras
import tensorflow as tf

from keras_mrcnn.ops import boxes as box_ops
from keras_mrcnn.ops import nms

Proposals = collections.namedtuple("Proposals", "boxes scores valid")
Proposals.__doc__ = """Proposals of a batch: boxes float32 [B, R, 4], xyxy pixels, best first, zero-padded; scores
float32 [B, R], the RPN's probability of an object; valid int32 [B], the number of proposals. No gradient."""

RPN_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
MIN_SIDE = 1e-3


@keras.saving.register_keras_serializable("keras_mrcnn")
class ProposalLayer(keras.layers.Layer):
    """Layer that turns the RPN's output into proposals.

    It takes the best anchors of each level, decodes and clips their boxes, drops the tiny ones, applies NMS within each
    level and keeps the best of all levels.

    Args:
        pre_nms_train, pre_nms_test: boxes of each level that enter NMS, in training and otherwise.
        post_nms_train, post_nms_test: R, in training and otherwise.
        nms_iou: a box is dropped where its IoU with a better one of its level exceeds this.

    Call arguments:
        objectness: a list of logits float32 [B, N].
        deltas: a list of float32 [B, N, 4].
        anchors: a list of float32 [N, 4], xyxy pixels.
        image_sizes: int32 [B, 2], height and width of the unpadded images in pixels.
        training: whether the counts for training apply.

    Returns:
        `Proposals`.

    Reference: Ren et al., Faster R-CNN, 2015, section 3.1; Lin et al., Feature Pyramid Networks, 2017, section 4.1.
    """

    def __init__(
        self,
        *,
        pre_nms_train: int,
        post_nms_train: int,
        pre_nms_test: int,
        post_nms_test: int,
        nms_iou: float,
        dtype: Any = "float32",
        **kwargs: Any,
    ):
        super().__init__(dtype=dtype, autocast=False, **kwargs)
        self.supports_jit = False  # XLA has no such NMS, and Keras 3 asks every layer of a model
        self.pre_nms_train, self.post_nms_train = pre_nms_train, post_nms_train
        self.pre_nms_test, self.post_nms_test = pre_nms_test, post_nms_test
        self.nms_iou = nms_iou
        self.built = True  # it has no weights

    def call(
        self,
        objectness: list[tf.Tensor],
        deltas: list[tf.Tensor],
        anchors: list[tf.Tensor],
        image_sizes: tf.Tensor,
        training: bool = False,
    ) -> Proposals:
        """Returns the best proposals of each image."""
        boxes, scores = self.candidates(objectness, deltas, anchors, image_sizes, training)
        kept = nms.grouped_nms(
            boxes[:, :, None, :],
            scores,
            iou_threshold=self.nms_iou,
            score_threshold=-0.5,
            max_boxes=self.post_nms_train if training else self.post_nms_test,
        )
        return Proposals(kept.boxes, kept.scores, kept.valid)

    def candidates(
        self,
        objectness: list[tf.Tensor],
        deltas: list[tf.Tensor],
        anchors: list[tf.Tensor],
        image_sizes: tf.Tensor,
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes the boxes and scores before NMS; arguments as in `call`.

        Returns:
            boxes float32 [B, M, 4], xyxy pixels, clipped, of all levels one after the other, and scores float32
            [B, M, L]. The column of a box's own level holds its probability; the others hold -1, and so do all columns
            of a tiny box.
        """
        count = self.pre_nms_train if training else self.pre_nms_test
        levels = [_best(*level, count) for level in zip(objectness, deltas, anchors)]
        boxes = [box_ops.clip(tf.stop_gradient(level_boxes), image_sizes) for level_boxes, _ in levels]
        scores = []
        for level, ((_, logits), level_boxes) in enumerate(zip(levels, boxes)):
            probability = tf.where(box_ops.min_side(level_boxes) >= MIN_SIDE, tf.sigmoid(logits), -1.0)
            others = len(levels) - 1 - level
            scores.append(tf.pad(probability[:, :, None], [[0, 0], [0, 0], [level, others]], constant_values=-1.0))
        return tf.concat(boxes, axis=1), tf.stop_gradient(tf.concat(scores, axis=1))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make this layer anew."""
        names = ("pre_nms_train", "post_nms_train", "pre_nms_test", "post_nms_test", "nms_iou")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _best(logits: tf.Tensor, deltas: tf.Tensor, anchors: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns boxes [B, min(N, count), 4] and logits of the anchors with the greatest logits."""
    best = tf.math.top_k(logits, k=tf.minimum(count, tf.shape(logits)[1]))
    boxes = box_ops.decode(tf.gather(deltas, best.indices, batch_dims=1), tf.gather(anchors, best.indices), RPN_WEIGHTS)
    return boxes, best.values
