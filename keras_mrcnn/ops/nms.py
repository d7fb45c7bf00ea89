"""Non-maximum suppression within groups, for a batch at once.

Shapes: B batch, N boxes, K groups (levels or classes), D boxes kept.
"""

from __future__ import annotations

import collections

import tensorflow as tf

Kept = collections.namedtuple("Kept", "boxes scores groups valid")


def grouped_nms(
    boxes: tf.Tensor, scores: tf.Tensor, *, iou_threshold: float, score_threshold: float, max_boxes: int
) -> Kept:
    """Applies greedy NMS within each group, then keeps the `max_boxes` best of all groups.

    Args:
        boxes: float32 [B, N, 1, 4] (shared by the groups) or [B, N, K, 4], xyxy pixels.
        scores: float32 [B, N, K]; a box takes part only in the groups where its score exceeds the threshold.
        iou_threshold: a box is dropped where its IoU with a better one of its group exceeds this.
        score_threshold: lower bound of the scores, itself excluded.
        max_boxes: D.

    Returns:
        `Kept` with boxes float32 [B, D, 4], scores float32 [B, D], groups int32 [B, D] (0..K-1), best first and
        zero-padded, and valid int32 [B], the number of boxes kept. No gradient.
    """
    kept_boxes, kept_scores, groups, valid = tf.image.combined_non_max_suppression(
        tf.stop_gradient(boxes),
        tf.stop_gradient(scores),
        max_output_size_per_class=max_boxes,
        max_total_size=max_boxes,
        iou_threshold=iou_threshold,
        score_threshold=score_threshold,
        clip_boxes=False,
    )
    return Kept(kept_boxes, kept_scores, tf.cast(groups, tf.int32), valid)
