"""Training targets of the box head and the mask head.

Shapes: B batch, R proposals, G padded ground truths, S sampled RoIs per image.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import TYPE_CHECKING

import tensorflow as tf

from keras_mrcnn.ops import matching, sampling

if TYPE_CHECKING:
    from keras_mrcnn.layers.proposals import Proposals

RoITargets = collections.namedtuple("RoITargets", "rois labels boxes matched")
RoITargets.__doc__ = """Sampled RoIs float32 [B, S, 4], xyxy pixels, positives first; labels int32 [B, S]: 1..K, 0 for
background, -1 for padding; boxes float32 [B, S, 4], xyxy pixels: the ground truth of each positive (anything for the
others); matched int32 [B, S], its index into G. No gradient."""


def sample_rois(
    proposals: Proposals,
    batch: Mapping[str, tf.Tensor],
    *,
    positive_iou: float,
    samples: int,
    positive_fraction: float,
    positives_only: bool = False,
) -> RoITargets:
    """Adds the ground truths to the proposals, labels them all and draws those that enter the loss.

    Args:
        proposals: `Proposals`, of which only boxes float32 [B, R, 4], xyxy pixels, and valid int32 [B] matter.
        batch: dict with gt_boxes float32 [B, G, 4], gt_labels int32 [B, G] and seeds int32 [B, 2].
        positive_iou: RoIs whose best IoU is lower are background.
        samples: S.
        positive_fraction: greatest share of positives.
        positives_only: whether the background is left out, as for the mask head.

    Returns:
        `RoITargets`.

    Reference: Girshick, Fast R-CNN, 2015, section 2.3.
    """

    def sample_image(inputs: tuple[tf.Tensor, ...]) -> RoITargets:
        boxes, valid, gt_boxes, gt_labels, seed = inputs
        boxes = tf.concat([boxes, gt_boxes], axis=0)
        real = tf.concat([tf.range(tf.shape(boxes)[0] - tf.shape(gt_boxes)[0]) < valid, gt_labels > 0], axis=0)
        positive, matched = matching.match(
            boxes, gt_boxes, gt_labels > 0, positive_iou=positive_iou, negative_iou=positive_iou, best_for_gt=False
        )
        background = matching.IGNORED if positives_only else matching.NEGATIVE
        labels = tf.where(positive > 0, tf.gather(gt_labels, matched), background)
        labels = tf.where(real, labels, matching.IGNORED)
        chosen, filled = sampling.sample(labels, seed, num_samples=samples, positive_fraction=positive_fraction)
        matched = tf.gather(matched, chosen)
        return RoITargets(
            tf.where(filled[:, None], tf.gather(boxes, chosen), 0.0),
            tf.where(filled, tf.gather(labels, chosen), matching.IGNORED),
            tf.gather(gt_boxes, matched),
            matched,
        )

    boxes, labels = tf.TensorSpec([samples, 4], tf.float32), tf.TensorSpec([samples], tf.int32)
    elements = (proposals.boxes, proposals.valid, batch["gt_boxes"], batch["gt_labels"], batch["seeds"])
    targets = tf.map_fn(sample_image, elements, fn_output_signature=RoITargets(boxes, labels, boxes, labels))
    return RoITargets(*map(tf.stop_gradient, targets))
