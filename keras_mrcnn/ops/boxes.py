"""Box arithmetic on float32 xyxy boxes in pixels.

Shapes: B batch, N boxes, A and C any two numbers of boxes. Leading dimensions are free.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

# In one step a box may grow at most from a 16 px anchor to 1000 px; larger deltas are noise that overflows exp.
MAX_LOG_SCALE = math.log(1000.0 / 16)


def area(boxes: tf.Tensor) -> tf.Tensor:
    """Computes the areas [..., N] in square pixels of boxes float32 [..., N, 4]; the gradient flows."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def pairwise_iou(boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tf.Tensor:
    """Computes the intersection over union of every box of one set with every box of another.

    Args:
        boxes_a: float32 [..., A, 4], xyxy pixels.
        boxes_b: float32 [..., C, 4], xyxy pixels.

    Returns:
        float32 [..., A, C]; 0 where both boxes have no area.

    Example:
        >>> float(pairwise_iou(tf.constant([[0., 0., 2., 2.]]), tf.constant([[1., 0., 3., 2.]]))[0, 0])
        0.3333333432674408
    """
    # One coordinate at a time: planes [A, C] are several times as fast as one tensor [A, C, 2].
    xa1, ya1, xa2, ya2 = (side[..., :, None] for side in tf.unstack(boxes_a, axis=-1))
    xb1, yb1, xb2, yb2 = (side[..., None, :] for side in tf.unstack(boxes_b, axis=-1))
    widths = tf.maximum(tf.minimum(xa2, xb2) - tf.maximum(xa1, xb1), 0.0)
    heights = tf.maximum(tf.minimum(ya2, yb2) - tf.maximum(ya1, yb1), 0.0)
    intersection = widths * heights
    union = area(boxes_a)[..., :, None] + area(boxes_b)[..., None, :] - intersection
    return tf.math.divide_no_nan(intersection, union)


def generalized_iou(boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tf.Tensor:
    """Computes the generalized IoU of pairs of boxes, in -1..1; the gradient flows.

    Args:
        boxes_a: float32 [..., N, 4], xyxy pixels.
        boxes_b: float32 [..., N, 4], xyxy pixels.

    Returns:
        float32 [..., N].

    Reference: Rezatofighi et al., Generalized Intersection over Union, 2019, algorithm 1.
    """
    overlap = tf.minimum(boxes_a[..., 2:], boxes_b[..., 2:]) - tf.maximum(boxes_a[..., :2], boxes_b[..., :2])
    sides = tf.maximum(overlap, 0.0)
    intersection = sides[..., 0] * sides[..., 1]
    union = area(boxes_a) + area(boxes_b) - intersection
    hull = tf.concat(
        [tf.minimum(boxes_a[..., :2], boxes_b[..., :2]), tf.maximum(boxes_a[..., 2:], boxes_b[..., 2:])], axis=-1
    )
    iou = tf.math.divide_no_nan(intersection, union)
    return iou - tf.math.divide_no_nan(area(hull) - union, area(hull))


def _centres_and_sides(boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    sides = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * sides, sides


def encode(boxes: tf.Tensor, references: tf.Tensor, weights: Sequence[float]) -> tf.Tensor:
    """Computes the deltas that `decode` turns back into `boxes`.

    Args:
        boxes: float32 [..., N, 4], xyxy pixels.
        references: float32 [..., N, 4], the anchors or RoIs.
        weights: four numbers that multiply dx, dy, dw, dh.

    Returns:
        float32 [..., N, 4], (dx, dy, dw, dh). Boxes or references without area give finite, meaningless deltas.

    Reference: Ren et al., Faster R-CNN, 2015, section 3.1.2, equation 2.
    """
    centres, sides = _centres_and_sides(boxes)
    reference_centres, reference_sides = _centres_and_sides(references)
    # Padding rows have no area. Without this lower bound they would give NaN, which no zero weight removes.
    sides, reference_sides = tf.maximum(sides, 1e-6), tf.maximum(reference_sides, 1e-6)
    shift = (centres - reference_centres) / reference_sides
    scale = tf.math.log(sides / reference_sides)
    return tf.concat([shift, scale], axis=-1) * tf.constant(weights, boxes.dtype)


def decode(deltas: tf.Tensor, references: tf.Tensor, weights: Sequence[float]) -> tf.Tensor:
    """Moves and resizes `references` by `deltas`; the gradient flows into both.

    Args:
        deltas: float32 [..., N, 4], (dx, dy, dw, dh).
        references: float32 [..., N, 4], xyxy pixels, broadcast against deltas.
        weights: four numbers that divide dx, dy, dw, dh.

    Returns:
        float32 [..., N, 4], xyxy pixels, not clipped; dw and dh are clamped at log(1000 / 16).
    """
    deltas = deltas / tf.constant(weights, deltas.dtype)
    reference_centres, reference_sides = _centres_and_sides(references)
    centres = deltas[..., :2] * reference_sides + reference_centres
    half = 0.5 * tf.exp(tf.minimum(deltas[..., 2:], MAX_LOG_SCALE)) * reference_sides
    return tf.concat([centres - half, centres + half], axis=-1)


def clip(boxes: tf.Tensor, image_sizes: tf.Tensor) -> tf.Tensor:
    """Clips boxes to their images.

    Args:
        boxes: float32 [B, ..., 4], xyxy pixels.
        image_sizes: int32 [B, 2], height and width in pixels.

    Returns:
        float32, the shape of `boxes`.
    """
    sizes = tf.cast(image_sizes, boxes.dtype)
    corner = tf.stack([sizes[:, 1], sizes[:, 0]], axis=-1)
    limits = tf.concat([corner, corner], axis=-1)
    rank = len(boxes.shape)
    limits = tf.reshape(limits, [-1] + [1] * (rank - 2) + [4])
    return tf.clip_by_value(boxes, 0.0, limits)


def min_side(boxes: tf.Tensor) -> tf.Tensor:
    """Returns the shorter side [..., N] in pixels of boxes [..., N, 4]; it is negative where x2 < x1 or y2 < y1."""
    return tf.minimum(boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1])
