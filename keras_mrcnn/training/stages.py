"""The three stages: each is a `keras.Model` to compile and fit on the batches of `training_dataset`.

A stage wraps a `MaskRCNN`, trains its own part and leaves everything before it unchanged, to the bit.

Shapes: B batch, N anchors, S sampled anchors, R sampled RoIs, M mask side, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from keras_mrcnn import losses
from keras_mrcnn.layers.detections import BOX_HEAD_WEIGHTS
from keras_mrcnn.layers.proposals import RPN_WEIGHTS, Proposals
from keras_mrcnn.models.fpn import subsample
from keras_mrcnn.models.sampled_anchors import score_sampled_anchors
from keras_mrcnn.ops.masks import crop_mask_targets
from keras_mrcnn.targets.roi_targets import sample_rois
from keras_mrcnn.targets.rpn_targets import sample_anchors
from keras_mrcnn.training.frozen_features import features_and_proposals
from keras_mrcnn.training.stage import Stage, count_over_replicas

Batch = dict[str, tf.Tensor]  # as `training_dataset` yields it


@keras.saving.register_keras_serializable("keras_mrcnn")
class RPNStage(Stage):
    """First stage: backbone (from `backbone.freeze_stages` up), neck and RPN.

    Args:
        mask_rcnn: the `MaskRCNN` to train.

    Call arguments:
        batch: dict as `training_dataset` yields it.

    Example:
        >>> stage = RPNStage(model)
        >>> stage.compile(keras.optimizers.SGD(0.0025, momentum=0.9))
        >>> history = stage.fit(dataset, steps_per_epoch=100, epochs=12, validation_data=validation)
        >>> history.history["val_loss"][-1], history.history["val_objectness_loss"][-1]

    Reference: Ren et al., Faster R-CNN, 2015, section 3.1.
    """

    loss_names = ("objectness_loss", "rpn_box_loss")

    def freeze(self) -> None:
        """Makes backbone (from `backbone.freeze_stages` up), neck and RPN trainable and nothing else."""
        super().freeze()
        self.mask_rcnn.backbone.trainable = True
        self.mask_rcnn.backbone.freeze(self.mask_rcnn.config.backbone.freeze_stages)
        self.mask_rcnn.neck.trainable = True
        self.mask_rcnn.rpn.trainable = True

    def call(self, batch: Batch, training: bool = False) -> Batch:
        """Computes the inputs of the losses from a batch."""
        model = self.mask_rcnn
        maps = model.backbone(batch["images"], training=training)
        if model.neck.is_local:
            features = model.neck.merge(maps, training=training)
            levels = [*features, subsample(features[-1])]
        else:
            features = levels = model.neck(maps, training=training)
        anchors = tf.concat(model.anchors(levels, tf.shape(batch["images"])[1:3]), axis=0)
        return self.anchor_outputs(anchors, batch, lambda indices: self._score(features, indices))

    def anchor_outputs(self, anchors: tf.Tensor, batch: Batch, score: Callable) -> Batch:
        """Computes the inputs of the losses at sampled anchors.

        Args:
            anchors: anchors of all levels, float32 [N, 4], xyxy pixels.
            batch: dict as `training_dataset` yields it.
            score: function of indices int32 [B, S] that returns their objectness [B, S] and deltas [B, S, 4].
        """
        config = self.mask_rcnn.config.rpn
        targets = sample_anchors(
            anchors,
            batch,
            positive_iou=config.positive_iou,
            negative_iou=config.negative_iou,
            samples=config.samples,
            positive_fraction=config.positive_fraction,
        )
        objectness, deltas = score(targets.indices)
        return {
            "objectness": objectness,
            "deltas": deltas,
            "anchors": tf.gather(anchors, targets.indices),
            "labels": targets.labels,
            "target_boxes": targets.boxes,
        }

    def _score(self, features, indices):
        """Computes objectness and deltas of the sampled anchors, only at their places if the neck allows that."""
        model = self.mask_rcnn
        if model.neck.is_local:
            return score_sampled_anchors(model.neck, model.rpn, features, indices)
        return gather_anchors(model.rpn(features), indices)

    def stage_losses(self, outputs: Batch) -> list[tf.Tensor]:
        """Returns the objectness loss and the box loss."""
        labels = outputs["labels"]
        sampled = count_over_replicas(labels >= 0)
        return [
            losses.objectness_loss(outputs["objectness"], labels, sampled),
            losses.rpn_box_loss(
                outputs["deltas"],
                outputs["anchors"],
                outputs["target_boxes"],
                labels,
                sampled,
                weights=RPN_WEIGHTS,
                kind=self.mask_rcnn.config.rpn.box_loss,
            ),
        ]


def gather_anchors(scores: Sequence[list[tf.Tensor]], indices: tf.Tensor) -> list[tf.Tensor]:
    """Gathers objectness [B, S] and deltas [B, S, 4] at indices int32 [B, S] from the RPN's lists for whole levels."""
    return [tf.gather(tf.concat(values, axis=1), indices, batch_dims=1) for values in scores]


@keras.saving.register_keras_serializable("keras_mrcnn")
class BoxStage(Stage):
    """Second stage: the box head on proposals of the frozen RPN.

    Args:
        mask_rcnn: the `MaskRCNN` to train.

    Call arguments:
        batch: dict as `training_dataset` yields it.

    Reference: Girshick, Fast R-CNN, 2015, section 2.3.
    """

    loss_names = ("classification_loss", "box_loss")

    def freeze(self) -> None:
        """Makes the box head trainable and nothing else."""
        super().freeze()
        self.mask_rcnn.box_head.trainable = True

    def call(self, batch: Batch, training: bool = False) -> Batch:
        """Computes the inputs of the losses from a batch."""
        return self.head_outputs(*features_and_proposals(self.mask_rcnn, batch), batch, training)

    def head_outputs(self, features: list[tf.Tensor], proposals: Proposals, batch: Batch, training: bool) -> Batch:
        """Computes the inputs of the losses on RoIs that are sampled from `Proposals`."""
        model, config = self.mask_rcnn, self.mask_rcnn.config.box_head
        targets = sample_rois(
            proposals,
            batch,
            positive_iou=config.positive_iou,
            samples=config.samples,
            positive_fraction=config.positive_fraction,
        )
        class_logits, deltas = model.box_head(
            model.box_pool(model.roi_features(features), targets.rois), training=training
        )
        return {
            "class_logits": class_logits,
            "deltas": deltas,
            "rois": targets.rois,
            "labels": targets.labels,
            "target_boxes": targets.boxes,
        }

    def stage_losses(self, outputs: Batch) -> list[tf.Tensor]:
        """Returns the classification loss and the box loss."""
        labels = outputs["labels"]
        sampled = count_over_replicas(labels >= 0)
        return [
            losses.classification_loss(outputs["class_logits"], labels, sampled),
            losses.box_loss(
                outputs["deltas"],
                outputs["rois"],
                outputs["target_boxes"],
                labels,
                sampled,
                weights=BOX_HEAD_WEIGHTS,
                kind=self.mask_rcnn.config.box_head.box_loss,
            ),
        ]


@keras.saving.register_keras_serializable("keras_mrcnn")
class MaskStage(Stage):
    """Third stage: the mask head on the positive proposals of the frozen RPN.

    Args:
        mask_rcnn: the `MaskRCNN` to train.

    Call arguments:
        batch: dict as `training_dataset` yields it.

    Reference: He et al., Mask R-CNN, 2017, section 3.
    """

    loss_names = ("mask_loss",)

    def freeze(self) -> None:
        """Makes the mask head trainable and nothing else."""
        super().freeze()
        self.mask_rcnn.mask_head.trainable = True

    def call(self, batch: Batch, training: bool = False) -> Batch:
        """Computes the inputs of the losses from a batch."""
        return self.head_outputs(*features_and_proposals(self.mask_rcnn, batch), batch, training)

    def head_outputs(self, features: list[tf.Tensor], proposals: Proposals, batch: Batch, training: bool) -> Batch:
        """Computes the inputs of the loss on the positives among `Proposals`."""
        model = self.mask_rcnn
        targets = sample_rois(
            proposals,
            batch,
            positive_iou=model.config.box_head.positive_iou,
            samples=model.config.mask_head.samples,
            positive_fraction=1.0,
            positives_only=True,
        )
        # Positives come first: rows that no image of the batch fills need no convolution.
        most = tf.maximum(tf.reduce_max(tf.reduce_sum(tf.cast(targets.labels > 0, tf.int32), axis=1)), 1)
        rois, labels, matched = targets.rois[:, :most], targets.labels[:, :most], targets.matched[:, :most]
        pooled = model.mask_pool(model.roi_features(features), rois)
        logits = model.mask_head(pooled, tf.maximum(labels, 0), training=training)
        target_masks = crop_mask_targets(batch["gt_masks"], batch["gt_boxes"], rois, matched, logits.shape[2])
        return {
            "mask_logits": logits,
            "target_masks": tf.stop_gradient(target_masks),
            "labels": labels,
        }

    def stage_losses(self, outputs: Batch) -> list[tf.Tensor]:
        """Returns the mask loss."""
        labels = outputs["labels"]
        positives = count_over_replicas(labels > 0)
        return [losses.mask_loss(outputs["mask_logits"], outputs["target_masks"], labels, positives)]
