"""Which ground truth a box belongs to.

Shapes: N boxes (anchors or RoIs), G padded ground truths of one image.
"""

import tensorflow as tf

from keras_mrcnn.ops import boxes as box_ops

NEGATIVE, IGNORED = 0, -1


def match(boxes, gt_boxes, gt_valid, *, positive_iou, negative_iou, best_for_gt):
    """Matches the boxes of one image to its ground truths by IoU.

    A box whose best IoU is at least `positive_iou` is positive, below `negative_iou` negative, between ignored.
    With `best_for_gt`, the boxes that overlap a ground truth most (all of them in a tie) are positive
    however low that IoU is, so that no object goes without an anchor; as in torchvision they stay with
    the ground truth that they overlap most themselves.

    Args:
        boxes: float32 [N, 4], xyxy pixels.
        gt_boxes: float32 [G, 4], xyxy pixels, G at least 1.
        gt_valid: bool [G], false for padding.
        positive_iou: float.
        negative_iou: float.
        best_for_gt: bool, true for anchors.

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
        # An IoU of 0 is no overlap at all: a ground truth that no anchor touches makes no anchor positive.
        positive |= tf.reduce_any((iou == best_of_gt) & (best_of_gt > 0.0) & gt_valid, axis=1)
    return tf.stop_gradient(tf.where(positive, 1, labels)), tf.stop_gradient(matched)
