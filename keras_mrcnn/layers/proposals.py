"""From the RPN's scores and deltas to proposals.

Shapes: B batch, N anchors of a level, R proposals.
"""

import collections

import keras
import tensorflow as tf

from keras_mrcnn.ops import boxes as box_ops
from keras_mrcnn.ops import nms

Proposals = collections.namedtuple("Proposals", "boxes scores valid")
Proposals.__doc__ = """Boxes float32 [B, R, 4], xyxy pixels, best first, zero-padded; scores float32 [B, R], the RPN's
probability of an object; valid int32 [B], how many there are. No gradient."""

RPN_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
MIN_SIDE = 1e-3


@keras.saving.register_keras_serializable("keras_mrcnn")
class ProposalLayer(keras.layers.Layer):
    """Turns RPN output into proposals: best of each level, decode, clip, drop the tiny, NMS per level, best of all.

    Args:
        pre_nms_train, pre_nms_test: boxes of each level that enter NMS.
        post_nms_train, post_nms_test: R.
        nms_iou: boxes of a level that overlap a better one by more are dropped.

    Call arguments:
        objectness: list of logits float32 [B, N].
        deltas: list of float32 [B, N, 4].
        anchors: list of float32 [N, 4], xyxy pixels.
        image_sizes: int32 [B, 2], height and width of the unpadded images in pixels.
        training: which of the two counts to use.

    Returns:
        `Proposals`.

    Reference: Ren et al., Faster R-CNN, 2015, section 3.1; Lin et al., Feature Pyramid Networks, 2017, section 4.1.
    """

    def __init__(
        self, *, pre_nms_train, post_nms_train, pre_nms_test, post_nms_test, nms_iou, dtype="float32", **kwargs
    ):
        super().__init__(dtype=dtype, autocast=False, **kwargs)
        self.supports_jit = False  # XLA has no such NMS; Keras 3 asks every layer of a model
        self.pre_nms_train, self.post_nms_train = pre_nms_train, post_nms_train
        self.pre_nms_test, self.post_nms_test = pre_nms_test, post_nms_test
        self.nms_iou = nms_iou
        self.built = True  # it has no weights

    def call(self, objectness, deltas, anchors, image_sizes, training=False):
        boxes, scores = self.candidates(objectness, deltas, anchors, image_sizes, training)
        kept = nms.grouped_nms(
            boxes[:, :, None, :],
            scores,
            iou_threshold=self.nms_iou,
            score_threshold=-0.5,
            max_boxes=self.post_nms_train if training else self.post_nms_test,
        )
        return Proposals(kept.boxes, kept.scores, kept.valid)

    def candidates(self, objectness, deltas, anchors, image_sizes, training=False):
        """Proposals before NMS.

        Returns:
            boxes float32 [B, M, 4], xyxy pixels, clipped, of all levels one after the other, and scores float32
            [B, M, L]: the probability in the column of the box's own level, -1 in the others and for tiny boxes.
        """
        count = self.pre_nms_train if training else self.pre_nms_test
        levels = [_best(*level, count) for level in zip(objectness, deltas, anchors)]
        boxes = [box_ops.clip(tf.stop_gradient(level_boxes), image_sizes) for level_boxes, _ in levels]
        scores = []
        for level, ((_, logits), level_boxes) in enumerate(zip(levels, boxes)):
            probability = tf.where(box_ops.min_side(level_boxes) >= MIN_SIDE, tf.sigmoid(logits), -1.0)
            others = len(levels) - 1 - level
            scores.append(tf.pad(probability[:, :, None], [[0, 0], [0, 0], [level, others]], constant_values=-1.0))
        return tf.concat(boxes, axis=1), tf.stop_gradient(tf.concat(scores, axis=1))

    def get_config(self):
        names = ("pre_nms_train", "post_nms_train", "pre_nms_test", "post_nms_test", "nms_iou")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _best(logits, deltas, anchors, count):
    """Boxes [B, min(N, count), 4] and logits of the anchors with the greatest logits."""
    best = tf.math.top_k(logits, k=tf.minimum(count, tf.shape(logits)[1]))
    boxes = box_ops.decode(tf.gather(deltas, best.indices, batch_dims=1), tf.gather(anchors, best.indices), RPN_WEIGHTS)
    return boxes, best.values
