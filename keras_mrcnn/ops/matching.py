"""Matches boxes to ground truths.

Shapes: N boxes (anchors or RoIs), G padded ground truths of one image.
"""

from __future__ import annotations

import tensorflow as tf

from keras_mrcnn.ops import boxes as box_ops

NEGATIVE, IGNORED = 0, -1


def match(
    boxes: tf.Tensor,
    gt_boxes: tf.Tensor,
    gt_valid: tf.Tensor,
    *,
    positive_iou: float,
    negative_iou: float,
    best_for_gt: bool,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Matches the boxes of one image to its ground truths by IoU.

    A box is positive where its best IoU is at least `positive_iou`, negative where it is below `negative_iou`, and
    ignored in between. With `best_for_gt`, the boxes that overlap a ground truth most (all of them in a tie) are
    positive too, however low that IoU is, so that every object that an anchor overlaps has a positive one. As in
    torchvision, such a box is still matched to the ground truth that it overlaps most itself.

    Args:
        boxes: float32 [N, 4], xyxy pixels.
        gt_boxes: float32 [G, 4], xyxy pixels, G at least 1.
        gt_valid: bool [G], false for padding.
        positive_iou: lowest best IoU of a positive box.
        negative_iou: boxes whose best IoU is lower are negative.
        best_for_gt: whether the best boxes of each ground truth are positive, as for anchors.

    Returns:
        labels int32 [N] (1 positive, 0 negative, -1 ignored) and matched int32 [N], the index of the ground
        truth with the best IoU (0 where there is none). No gradient.

    Reference: Ren et al., Faster R-CNN, 2015, section 3.1.2.
    """
    iou = tf.where(gt_valid, box_ops.pairwise_iou(boxes, gt_boxes), -1.0)
    matched = tf.argmax(iou, axis=1, output_type=tf.int32)
    best_iou = tf.reduce_max(iou, axis=1)
    labels = tf.where(best_iou < negative_iou, NEGATIVE, IGNORED)
    positive = best_iou >= positive_iou
    if best_for_gt:
        best_of_gt = tf.reduce_max(iou, axis=0)
        # A ground truth that no anchor overlaps, with a best IoU of 0, makes no anchor positive.
        positive |= tf.reduce_any((iou == best_of_gt) & (best_of_gt > 0.0) & gt_valid, axis=1)
    return tf.stop_gradient(tf.where(positive, 1, labels)), tf.stop_gradient(matched)
