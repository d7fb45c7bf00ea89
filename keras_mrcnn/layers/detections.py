"""From the box head's logits and deltas to final detections.

Shapes: B batch, R RoIs, K classes, D detections.
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from keras_mrcnn.ops import boxes as box_ops
from keras_mrcnn.ops import nms

if TYPE_CHECKING:
    from keras_mrcnn.layers.proposals import Proposals

BoxDetections = collections.namedtuple("BoxDetections", "boxes scores labels valid")
BoxDetections.__doc__ = """Detections of a batch: boxes float32 [B, D, 4], xyxy pixels, best first, zero-padded; scores
float32 [B, D]; labels int32 [B, D], 1..K, 0 for padding; valid int32 [B], the number of detections. No gradient."""

BOX_HEAD_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
MIN_SIDE = 1e-2


@keras.saving.register_keras_serializable("keras_mrcnn")
class DetectionLayer(keras.layers.Layer):
    """Layer that turns the box head's output into detections.

    It takes the softmax, decodes the boxes and clips them, drops unlikely and tiny ones, applies NMS within each class
    and keeps the best of all classes. Every class of an RoI competes, not only its best.

    Args:
        score_threshold: classes that score no more than this are dropped.
        nms_iou: a box is dropped where its IoU with a better one of its class exceeds this.
        max_detections: D.

    Call arguments:
        class_logits: float32 [B, R, K + 1], background first.
        deltas: float32 [B, R, K + 1, 4].
        rois: `Proposals`, of which only boxes float32 [B, R, 4], xyxy pixels, and valid int32 [B] matter.
        image_sizes: int32 [B, 2], height and width of the unpadded images in pixels.

    Returns:
        `BoxDetections`.

    Reference: Girshick, Fast R-CNN, 2015, section 2; constants of torchvision.
    """

    def __init__(
        self, *, score_threshold: float, nms_iou: float, max_detections: int, dtype: Any = "float32", **kwargs: Any
    ):
        super().__init__(dtype=dtype, autocast=False, **kwargs)
        self.supports_jit = False  # XLA has no such NMS, and Keras 3 asks every layer of a model
        self.score_threshold = score_threshold
        self.nms_iou = nms_iou
        self.max_detections = max_detections
        self.built = True  # it has no weights

    def call(
        self, class_logits: tf.Tensor, deltas: tf.Tensor, rois: Proposals, image_sizes: tf.Tensor
    ) -> BoxDetections:
        """Returns the best detections of each image."""
        boxes, scores = self.candidates(class_logits, deltas, rois, image_sizes)
        kept = nms.grouped_nms(
            boxes,
            scores,
            iou_threshold=self.nms_iou,
            score_threshold=self.score_threshold,
            max_boxes=self.max_detections,
        )
        present = tf.range(self.max_detections) < kept.valid[:, None]
        return BoxDetections(kept.boxes, kept.scores, tf.where(present, kept.groups + 1, 0), kept.valid)

    def candidates(
        self, class_logits: tf.Tensor, deltas: tf.Tensor, rois: Proposals, image_sizes: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes the boxes and scores before threshold and NMS; arguments as in `call`.

        Returns:
            boxes float32 [B, R, K, 4], xyxy pixels, clipped, and scores float32 [B, R, K], -1 for padding and for tiny
            boxes.
        """
        scores = tf.nn.softmax(class_logits)[..., 1:]
        boxes = box_ops.decode(deltas[:, :, 1:], rois.boxes[:, :, None], BOX_HEAD_WEIGHTS)
        boxes = box_ops.clip(boxes, image_sizes)
        real = (tf.range(tf.shape(scores)[1]) < rois.valid[:, None])[:, :, None]
        return boxes, tf.where(real & (box_ops.min_side(boxes) >= MIN_SIDE), scores, -1.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make this layer anew."""
        names = ("score_threshold", "nms_iou", "max_detections")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
