"""The optional fourth stage, which trains everything together, as Mask R-CNN was first trained."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.training.stage import Stage
from keras_mrcnn.training.stages import Batch, BoxStage, MaskStage, RPNStage, gather_anchors


@keras.saving.register_keras_serializable("keras_mrcnn")
class JointStage(Stage):
    """Fine-tunes backbone (from `backbone.freeze_stages` up), neck, RPN and both heads on the sum of all five losses.

    The gradients of the heads flow through RoIAlign into the features. Proposals are constants, as in the frozen
    stages: the losses of the heads do not train the RPN through them.

    Args:
        mask_rcnn: the `MaskRCNN` to train.

    Call arguments:
        batch: dict as `training_dataset` yields it, with masks.

    Example:
        >>> stage = JointStage(model)
        >>> stage.compile(keras.optimizers.SGD(0.002, momentum=0.9))
        >>> history = stage.fit(dataset, steps_per_epoch=100)

    Reference: He et al., Mask R-CNN, 2017, section 3 (L = L_cls + L_box + L_mask); Ren et al., Faster R-CNN, 2015,
        section 3.2, approximate joint training.
    """

    loss_names = (*RPNStage.loss_names, *BoxStage.loss_names, *MaskStage.loss_names)

    def __init__(self, mask_rcnn: MaskRCNN, **kwargs: Any):
        super().__init__(mask_rcnn, **kwargs)
        # They are never fitted: each computes the outputs and losses of its part.
        self.stages = {"rpn": RPNStage(mask_rcnn), "box": BoxStage(mask_rcnn), "mask": MaskStage(mask_rcnn)}

    def freeze(self) -> None:
        """Makes everything trainable except the frozen stages of the backbone."""
        model = self.mask_rcnn
        for part in self._parts():
            part.trainable = True
        model.backbone.freeze(model.config.backbone.freeze_stages)

    def call(self, batch: Batch, training: bool = False) -> dict[str, Batch]:
        """Computes the inputs of the losses of each part, by its name."""
        model = self.mask_rcnn
        features = model.extract_features(batch["images"], training=training)
        scores = model.score_anchors(features, batch["images"])
        proposals = model.proposals(*scores, batch["image_sizes"], training=True)
        objectness, deltas, anchors = scores
        return {
            # From the scores of all anchors, which the proposals need anyway.
            "rpn": self.stages["rpn"].anchor_outputs(
                tf.concat(anchors, axis=0), batch, lambda indices: gather_anchors((objectness, deltas), indices)
            ),
            "box": self.stages["box"].head_outputs(features, proposals, batch, training),
            "mask": self.stages["mask"].head_outputs(features, proposals, batch, training),
        }

    def stage_losses(self, outputs: dict[str, Batch]) -> list[tf.Tensor]:
        """Returns the losses of all parts, in the order of `loss_names`."""
        return [loss for name, stage in self.stages.items() for loss in stage.stage_losses(outputs[name])]
