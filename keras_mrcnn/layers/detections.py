"""From the box head's logits and deltas to final detections.

Shapes: B batch, R RoIs, K classes, D detections.
"""

import collections

import keras
import tensorflow as tf

from keras_mrcnn.ops import boxes as box_ops
from keras_mrcnn.ops import nms

BoxDetections = collections.namedtuple("BoxDetections", "boxes scores labels valid")
BoxDetections.__doc__ = """Boxes float32 [B, D, 4], xyxy pixels, best first, zero-padded; scores float32 [B, D];
labels int32 [B, D], 1..K, 0 for padding; valid int32 [B], how many there are. No gradient."""

BOX_HEAD_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
MIN_SIDE = 1e-2


@keras.saving.register_keras_serializable("keras_mrcnn")
class DetectionLayer(keras.layers.Layer):
    """Softmax, decode, clip, drop the unlikely and the tiny, NMS within each class, the best of all classes.

    Every class of an RoI competes, not only its best.

    Args:
        score_threshold: classes at or below it are dropped.
        nms_iou: boxes of a class that overlap a better one by more are dropped.
        max_detections: D.

    Call arguments:
        class_logits: float32 [B, R, K + 1], background first.
        deltas: float32 [B, R, K + 1, 4].
        rois: `Proposals` or anything with boxes float32 [B, R, 4], xyxy pixels, and valid int32 [B].
        image_sizes: int32 [B, 2], height and width of the unpadded images in pixels.

    Returns:
        `BoxDetections`.

    Reference: Girshick, Fast R-CNN, 2015, section 2; constants of torchvision.
    """

    def __init__(self, *, score_threshold, nms_iou, max_detections, dtype="float32", **kwargs):
        super().__init__(dtype=dtype, autocast=False, **kwargs)
        self.supports_jit = False  # XLA has no such NMS; Keras 3 asks every layer of a model
        self.score_threshold = score_threshold
        self.nms_iou = nms_iou
        self.max_detections = max_detections
        self.built = True  # it has no weights

    def call(self, class_logits, deltas, rois, image_sizes):
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

    def candidates(self, class_logits, deltas, rois, image_sizes):
        """Boxes float32 [B, R, K, 4] and scores float32 [B, R, K] before threshold and NMS; -1 for what cannot be."""
        scores = tf.nn.softmax(class_logits)[..., 1:]
        boxes = box_ops.decode(deltas[:, :, 1:], rois.boxes[:, :, None], BOX_HEAD_WEIGHTS)
        boxes = box_ops.clip(boxes, image_sizes)
        real = (tf.range(tf.shape(scores)[1]) < rois.valid[:, None])[:, :, None]
        return boxes, tf.where(real & (box_ops.min_side(boxes) >= MIN_SIDE), scores, -1.0)

    def get_config(self):
        names = ("score_threshold", "nms_iou", "max_detections")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
