"""Training targets of the RPN.

Shapes: B batch, N anchors of all levels, G padded ground truths, S sampled anchors per image.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping

import tensorflow as tf

from keras_mrcnn.ops import matching, sampling

RPNTargets = collections.namedtuple("RPNTargets", "indices labels boxes")
RPNTargets.__doc__ = """Indices int32 [B, S] of the sampled anchors; labels int32 [B, S]: 1 for an object, 0 for
background, -1 for padding; boxes float32 [B, S, 4], xyxy pixels: the ground truth of each positive (anything for the
others). No gradient."""


def label_anchors(
    anchors: tf.Tensor, gt_boxes: tf.Tensor, gt_labels: tf.Tensor, *, positive_iou: float, negative_iou: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Labels every anchor of every image.

    Args:
        anchors: float32 [N, 4], xyxy pixels.
        gt_boxes: float32 [B, G, 4], xyxy pixels.
        gt_labels: int32 [B, G], 1..K, -1 for padding.
        positive_iou, negative_iou: see `matching.match`.

    Returns:
        labels int32 [B, N] (1 positive, 0 negative, -1 ignored) and matched int32 [B, N], indices into G.

    Reference: Ren et al., Faster R-CNN, 2015, section 3.1.2.
    """

    def label_image(inputs: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return matching.match(
            anchors,
            inputs[0],
            inputs[1] > 0,
            positive_iou=positive_iou,
            negative_iou=negative_iou,
            best_for_gt=True,
        )

    # One image after the other: the N x G IoUs of several large, crowded images would fill the memory.
    return tf.map_fn(
        label_image, (gt_boxes, gt_labels), fn_output_signature=(tf.int32, tf.int32), parallel_iterations=1
    )


def sample_anchors(
    anchors: tf.Tensor,
    batch: Mapping[str, tf.Tensor],
    *,
    positive_iou: float,
    negative_iou: float,
    samples: int,
    positive_fraction: float,
) -> RPNTargets:
    """Labels the anchors and draws those that enter the loss.

    Args:
        anchors: float32 [N, 4], xyxy pixels.
        batch: dict with gt_boxes float32 [B, G, 4], gt_labels int32 [B, G] and seeds int32 [B, 2].
        positive_iou, negative_iou: see `matching.match`.
        samples: S.
        positive_fraction: greatest share of positives.

    Returns:
        `RPNTargets`.
    """
    gt_boxes, seeds = batch["gt_boxes"], batch["seeds"]
    labels, matched = label_anchors(
        anchors, gt_boxes, batch["gt_labels"], positive_iou=positive_iou, negative_iou=negative_iou
    )

    def sample_image(inputs: tuple[tf.Tensor, ...]) -> RPNTargets:
        image_labels, image_matched, seed, image_boxes = inputs
        chosen, valid = sampling.sample(image_labels, seed, num_samples=samples, positive_fraction=positive_fraction)
        chosen_labels = tf.where(valid, tf.gather(image_labels, chosen), matching.IGNORED)
        return RPNTargets(chosen, chosen_labels, tf.gather(image_boxes, tf.gather(image_matched, chosen)))

    signature = RPNTargets(
        tf.TensorSpec([samples], tf.int32), tf.TensorSpec([samples], tf.int32), tf.TensorSpec([samples, 4], tf.float32)
    )
    return tf.map_fn(sample_image, (labels, matched, seeds, gt_boxes), fn_output_signature=signature)
