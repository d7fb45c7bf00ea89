"""The five losses of Mask R-CNN, a float32 scalar each.

Each is a sum divided by `normalizer`, which the caller counts over all replicas. The gradients of the replicas then add
up to those of one device with the whole batch.

Shapes: B batch, S sampled anchors, R sampled RoIs, K classes, M mask side.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from keras_mrcnn.ops import boxes as box_ops

SMOOTH_L1_BETA = 1.0 / 9


def objectness_loss(logits: tf.Tensor, labels: tf.Tensor, normalizer: tf.Tensor) -> tf.Tensor:
    """Computes the sigmoid cross-entropy of object against background.

    Args:
        logits: float32 [B, S].
        labels: int32 [B, S]: 1 for an object, 0 for background; anchors with -1 do not count.
        normalizer: float32 [], the number of sampled anchors.

    Returns:
        float32 [].

    Reference: Ren et al., Faster R-CNN, 2015, equation 1.
    """
    losses = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(labels > 0, tf.float32), logits)
    return _total(losses, labels >= 0, normalizer)


def rpn_box_loss(
    deltas: tf.Tensor,
    anchors: tf.Tensor,
    target_boxes: tf.Tensor,
    labels: tf.Tensor,
    normalizer: tf.Tensor,
    *,
    weights: Sequence[float],
    kind: str = "smooth_l1",
) -> tf.Tensor:
    """Computes the loss of the positive anchors' boxes.

    Args:
        deltas: float32 [B, S, 4].
        anchors: float32 [B, S, 4], xyxy pixels.
        target_boxes: float32 [B, S, 4], xyxy pixels.
        labels: int32 [B, S]; only those above 0 count.
        normalizer: float32 [], the number of sampled anchors, positive and negative.
        weights: of the box coder, see `boxes.encode`.
        kind: "smooth_l1" (beta 1/9, summed over the four deltas) or "giou" (1 - GIoU).

    Returns:
        float32 [].

    Reference: Ren et al., Faster R-CNN, 2015, equation 1; Rezatofighi et al., Generalized IoU, 2019.
    """
    return _total(_box_losses(deltas, anchors, target_boxes, weights, kind), labels > 0, normalizer)


def classification_loss(class_logits: tf.Tensor, labels: tf.Tensor, normalizer: tf.Tensor) -> tf.Tensor:
    """Computes the softmax cross-entropy over background and classes.

    Args:
        class_logits: float32 [B, R, K + 1], background first.
        labels: int32 [B, R], 0..K; RoIs with -1 do not count.
        normalizer: float32 [], the number of sampled RoIs.

    Returns:
        float32 [].

    Reference: Girshick, Fast R-CNN, 2015, equation 1.
    """
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels, 0), class_logits)
    return _total(losses, labels >= 0, normalizer)


def box_loss(
    deltas: tf.Tensor,
    rois: tf.Tensor,
    target_boxes: tf.Tensor,
    labels: tf.Tensor,
    normalizer: tf.Tensor,
    *,
    weights: Sequence[float],
    kind: str = "smooth_l1",
) -> tf.Tensor:
    """Computes the loss of the positive RoIs' boxes, from the deltas of their true class.

    Args:
        deltas: float32 [B, R, K + 1, 4].
        rois: float32 [B, R, 4], xyxy pixels.
        target_boxes: float32 [B, R, 4], xyxy pixels.
        labels: int32 [B, R]; only those above 0 count.
        normalizer: float32 [], the number of sampled RoIs, positive and background.
        weights: of the box coder, see `boxes.encode`.
        kind: "smooth_l1" or "giou", as in `rpn_box_loss`.

    Returns:
        float32 [].

    Reference: Girshick, Fast R-CNN, 2015, equations 1 and 2.
    """
    own = tf.gather(deltas, tf.maximum(labels, 0), axis=2, batch_dims=2)
    return _total(_box_losses(own, rois, target_boxes, weights, kind), labels > 0, normalizer)


def mask_loss(mask_logits: tf.Tensor, target_masks: tf.Tensor, labels: tf.Tensor, normalizer: tf.Tensor) -> tf.Tensor:
    """Computes the sigmoid cross-entropy of the masks of the RoIs' true classes; those of other classes do not count.

    Args:
        mask_logits: float32 [B, R, M, M], of the true class.
        target_masks: float32 [B, R, M, M], 0..1.
        labels: int32 [B, R]; only those above 0 count.
        normalizer: float32 [], the number of positive RoIs.

    Returns:
        float32 [].

    Reference: He et al., Mask R-CNN, 2017, section 3.
    """
    losses = tf.nn.sigmoid_cross_entropy_with_logits(target_masks, mask_logits)
    return _total(tf.reduce_mean(losses, axis=[2, 3]), labels > 0, normalizer)


def _box_losses(
    deltas: tf.Tensor, references: tf.Tensor, target_boxes: tf.Tensor, weights: Sequence[float], kind: str
) -> tf.Tensor:
    """Returns the losses [...] of deltas [..., 4]."""
    if kind == "giou":
        return 1.0 - box_ops.generalized_iou(box_ops.decode(deltas, references, weights), target_boxes)
    distance = tf.abs(deltas - box_ops.encode(target_boxes, references, weights))
    small = 0.5 * distance**2 / SMOOTH_L1_BETA
    return tf.reduce_sum(tf.where(distance < SMOOTH_L1_BETA, small, distance - 0.5 * SMOOTH_L1_BETA), axis=-1)


def _total(losses: tf.Tensor, counts: tf.Tensor, normalizer: tf.Tensor) -> tf.Tensor:
    # Rows that do not count may hold padding and an infinite loss, which a product with zero would turn into NaN.
    return tf.reduce_sum(tf.where(counts, losses, 0.0)) / tf.maximum(normalizer, 1.0)
