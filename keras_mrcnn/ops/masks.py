"""Mask targets in the TensorFlow graph, cut from the compact ground-truth masks.

Shapes: B batch, G padded ground truth, R RoIs, S side of a compact mask, M side of a target.
"""

from __future__ import annotations

import tensorflow as tf


def crop_mask_targets(
    gt_masks: tf.Tensor, gt_boxes: tf.Tensor, rois: tf.Tensor, matched: tf.Tensor, size: int
) -> tf.Tensor:
    """Cuts the mask target of each RoI out of the compact mask of the object that it is matched with.

    A target value is the share of the RoI's bin that the object covers. It is an exact average over the bin's area, by
    one overlap matrix for each axis, so it misses nothing, whether the RoI is much larger or much smaller than the
    object. Positions are exact. torchvision's RoIAlign reads the full-size mask half a pixel to the lower right
    (aligned=False), but its nearest resize of that mask moves it by as much to the same side, so its targets have no
    net shift either; `scripts/measure_masks.py` compares the two.

    Args:
        gt_masks: uint8 [B, G, S, S], coverage inside the ground-truth box, 0..255, zero-padded.
        gt_boxes: float32 [B, G, 4], xyxy pixels, zero-padded.
        rois: float32 [B, R, 4], xyxy pixels. Shorter sides count as one pixel, as in RoIAlign.
        matched: int32 [B, R], the ground truth that an RoI belongs to; -1 for none, which gives a target of 0.
        size: side of a target, M.

    Returns:
        float32 [B, R, M, M] in 0..1; 0 outside the ground-truth box; no gradient.

    Reference:
        He et al., Mask R-CNN, section 3.1; torchvision `project_masks_on_boxes`.
    """
    with tf.name_scope("crop_mask_targets"):
        side = tf.shape(gt_masks)[-1]
        has_match = matched >= 0
        index = tf.maximum(matched, 0)
        boxes = tf.gather(tf.stop_gradient(tf.cast(gt_boxes, tf.float32)), index, batch_dims=1)
        masks = tf.gather(gt_masks, index, batch_dims=1)
        rois = tf.stop_gradient(tf.cast(rois, tf.float32))
        columns = _axis_weights(rois[..., 0], rois[..., 2], boxes[..., 0], boxes[..., 2], size, side)
        rows = _axis_weights(rois[..., 1], rois[..., 3], boxes[..., 1], boxes[..., 3], size, side)
        rows = rows * tf.cast(has_match, tf.float32)[..., None, None] / 255.0
        targets = tf.matmul(tf.matmul(rows, tf.cast(masks, tf.float32)), columns, transpose_b=True)
        # Rounding in the products can give 1 + 1e-7, which is no valid target of a cross-entropy.
        return tf.stop_gradient(tf.clip_by_value(targets, 0.0, 1.0))


def _axis_weights(
    roi_start: tf.Tensor, roi_stop: tf.Tensor, box_start: tf.Tensor, box_stop: tf.Tensor, size: int, side: tf.Tensor
) -> tf.Tensor:
    """Computes the share of each target bin that each mask cell covers, on one axis.

    Args:
        roi_start, roi_stop, box_start, box_stop: float32 [B, R], pixels.
        size: M.
        side: S.

    Returns:
        float32 [B, R, M, S].
    """
    roi_extent = tf.maximum(roi_stop - roi_start, 1.0)
    box_extent = box_stop - box_start
    has_extent = box_extent > 0
    cells = tf.cast(side, tf.float32)
    # Everything in units of mask cells, counted from the start of the ground-truth box.
    per_pixel = tf.where(has_extent, cells / tf.where(has_extent, box_extent, 1.0), 0.0)
    bin_extent = (roi_extent * per_pixel / size)[..., None]
    starts = ((roi_start - box_start) * per_pixel)[..., None] + bin_extent * tf.range(size, dtype=tf.float32)
    cell_starts = tf.range(cells, dtype=tf.float32)
    lower = tf.maximum(starts[..., None], cell_starts)
    upper = tf.minimum((starts + bin_extent)[..., None], cell_starts + 1.0)
    return tf.math.divide_no_nan(tf.maximum(upper - lower, 0.0), bin_extent[..., None])
