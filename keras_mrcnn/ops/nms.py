"""Non-maximum suppression within groups, for a batch at once.

Shapes: B batch, N boxes, K groups (levels or classes), D boxes kept.
"""

import collections

import tensorflow as tf

Kept = collections.namedtuple("Kept", "boxes scores groups valid")


def grouped_nms(boxes, scores, *, iou_threshold, score_threshold, max_boxes):
    """Greedy NMS within each group, then the `max_boxes` best of all groups.

    Args:
        boxes: float32 [B, N, 1, 4] (shared by the groups) or [B, N, K, 4], xyxy pixels.
        scores: float32 [B, N, K]; a box takes no part in a group where its score is not above the threshold.
        iou_threshold: boxes that overlap a better one by more are dropped.
        score_threshold: float.
        max_boxes: D.

    Returns:
        `Kept` with boxes float32 [B, D, 4], scores float32 [B, D], groups int32 [B, D] (0..K-1), best first and
        zero-padded, and valid int32 [B], how many there are. No gradient.
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
