"""The three stages: each a `keras.Model` to compile and fit on the batches of `training_dataset`.

A stage wraps a `MaskRCNN`, trains its own part and leaves everything before it as it is, to the bit.

Shapes: B batch, N anchors, S sampled anchors, R sampled RoIs, M mask side, K classes.
"""

import keras
import tensorflow as tf

from keras_mrcnn import losses
from keras_mrcnn.layers.detections import BOX_HEAD_WEIGHTS
from keras_mrcnn.layers.proposals import RPN_WEIGHTS
from keras_mrcnn.models.mask_head import select_class
from keras_mrcnn.ops.masks import crop_mask_targets
from keras_mrcnn.targets.roi_targets import sample_rois
from keras_mrcnn.targets.rpn_targets import sample_anchors


class Stage(keras.Model):
    """What the stages share: freezing, losses in the progress bar, normalisers over all replicas.

    Args:
        mask_rcnn: the `MaskRCNN` to train.
    """

    loss_names = ()

    def __init__(self, mask_rcnn, **kwargs):
        # Boxes of the batch must not be rounded, whatever the policy of the networks.
        super().__init__(dtype="float32", **kwargs)
        self.mask_rcnn = mask_rcnn
        self.trackers = [keras.metrics.Mean(name=name) for name in ("loss", *self.loss_names)]

    def compile(self, optimizer="sgd", **kwargs):
        """As `keras.Model.compile`, but for the losses, which are the stage's own. NMS cannot be compiled by XLA."""
        self.freeze()
        super().compile(optimizer=optimizer, jit_compile=False, **kwargs)

    def fit(self, *args, shuffle=False, **kwargs):
        """As `keras.Model.fit`; the data are dicts as `training_dataset` yields them."""
        self.freeze()
        self.optimizer.build(self.trainable_variables)
        # The data are shuffled already, and Keras 3 warns when its own default cannot be followed.
        return super().fit(*args, shuffle=shuffle, **kwargs)

    def _maybe_symbolic_build(self, *args, **kwargs):
        """Does nothing: all weights exist already.

        Under a strategy Keras 3 would take the first batch of the data for it, average that over the replicas, seeds
        and labels included, and go on with the second.
        """

    def freeze(self):
        """Makes the stage's own part trainable and nothing else."""
        for part in (self.mask_rcnn.backbone, self.mask_rcnn.neck, self.mask_rcnn.rpn):
            part.trainable = False
        self.mask_rcnn.box_head.trainable = False
        self.mask_rcnn.mask_head.trainable = False

    @property
    def metrics(self):
        return self.trackers

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **kwargs):
        """The sum of the stage's losses, a float32 scalar; `call` has prepared everything in `y_pred`."""
        values = self.stage_losses(y_pred)
        total = tf.add_n(values)
        # Each replica's loss is its share of the sum over all; the bar shows the whole.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        for tracker, value in zip(self.trackers, (total, *values)):
            tracker.update_state(value * replicas)
        return total

    def stage_losses(self, outputs):
        """The losses of `loss_names`, in that order."""
        raise NotImplementedError

    def frozen_proposals(self, batch):
        """Features and training proposals of the parts that a later stage keeps frozen; no gradient flows."""
        model = self.mask_rcnn
        features = model.extract_features(batch["images"], training=False)
        proposals = model.propose(features, batch["images"], batch["image_sizes"], training=True)
        return [tf.stop_gradient(fmap) for fmap in features], proposals


def count_over_replicas(mask):
    """How many elements of bool `mask` hold, as a float32 scalar, over all replicas."""
    count = tf.reduce_sum(tf.cast(mask, tf.float32))
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, count)


class RPNStage(Stage):
    """First stage: backbone (from `backbone.freeze_stages` up), neck and RPN.

    Args:
        mask_rcnn: the `MaskRCNN` to train.

    Call arguments:
        batch: dict as `training_dataset` yields it.

    Example:
        >>> stage = RPNStage(model)
        >>> stage.compile(keras.optimizers.SGD(0.02, momentum=0.9))
        >>> history = stage.fit(dataset, steps_per_epoch=100)

    Reference: Ren et al., Faster R-CNN, 2015, section 3.1.
    """

    loss_names = ("objectness_loss", "rpn_box_loss")

    def freeze(self):
        super().freeze()
        self.mask_rcnn.backbone.trainable = True
        self.mask_rcnn.backbone.freeze(self.mask_rcnn.config.backbone.freeze_stages)
        self.mask_rcnn.neck.trainable = True
        self.mask_rcnn.rpn.trainable = True

    def call(self, batch, training=False):
        model, config = self.mask_rcnn, self.mask_rcnn.config.rpn
        features = model.extract_features(batch["images"], training=training)
        objectness, deltas, anchors = model.score_anchors(features, batch["images"])
        anchors = tf.concat(anchors, axis=0)
        targets = sample_anchors(
            anchors,
            batch,
            positive_iou=config.positive_iou,
            negative_iou=config.negative_iou,
            samples=config.samples,
            positive_fraction=config.positive_fraction,
        )
        return {
            "objectness": tf.gather(tf.concat(objectness, axis=1), targets.indices, batch_dims=1),
            "deltas": tf.gather(tf.concat(deltas, axis=1), targets.indices, batch_dims=1),
            "anchors": tf.gather(anchors, targets.indices),
            "labels": targets.labels,
            "target_boxes": targets.boxes,
        }

    def stage_losses(self, outputs):
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


class BoxStage(Stage):
    """Second stage: the box head on proposals of the frozen RPN.

    Args:
        mask_rcnn: the `MaskRCNN` to train.

    Call arguments:
        batch: dict as `training_dataset` yields it.

    Reference: Girshick, Fast R-CNN, 2015, section 2.3.
    """

    loss_names = ("classification_loss", "box_loss")

    def freeze(self):
        super().freeze()
        self.mask_rcnn.box_head.trainable = True

    def call(self, batch, training=False):
        model, config = self.mask_rcnn, self.mask_rcnn.config.box_head
        features, proposals = self.frozen_proposals(batch)
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

    def stage_losses(self, outputs):
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


class MaskStage(Stage):
    """Third stage: the mask head on the positive proposals of the frozen RPN.

    Args:
        mask_rcnn: the `MaskRCNN` to train.

    Call arguments:
        batch: dict as `training_dataset` yields it.

    Reference: He et al., Mask R-CNN, 2017, section 3.
    """

    loss_names = ("mask_loss",)

    def freeze(self):
        super().freeze()
        self.mask_rcnn.mask_head.trainable = True

    def call(self, batch, training=False):
        model = self.mask_rcnn
        features, proposals = self.frozen_proposals(batch)
        targets = sample_rois(
            proposals,
            batch,
            positive_iou=model.config.box_head.positive_iou,
            samples=model.config.mask_head.samples,
            positive_fraction=1.0,
            positives_only=True,
        )
        # Positives come first: what no image of the batch fills is not worth a convolution.
        most = tf.maximum(tf.reduce_max(tf.reduce_sum(tf.cast(targets.labels > 0, tf.int32), axis=1)), 1)
        rois, labels, matched = targets.rois[:, :most], targets.labels[:, :most], targets.matched[:, :most]
        logits = model.mask_head(model.mask_pool(model.roi_features(features), rois), training=training)
        target_masks = crop_mask_targets(batch["gt_masks"], batch["gt_boxes"], rois, matched, logits.shape[2])
        return {
            "mask_logits": select_class(logits, tf.maximum(labels, 0)),
            "target_masks": tf.stop_gradient(target_masks),
            "labels": labels,
        }

    def stage_losses(self, outputs):
        labels = outputs["labels"]
        positives = count_over_replicas(labels > 0)
        return [losses.mask_loss(outputs["mask_logits"], outputs["target_masks"], labels, positives)]
