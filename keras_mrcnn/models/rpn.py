"""Region proposal network: a small fully convolutional head slid over every level.

Shapes: B batch, H W C of a level, A anchors per cell, N = H * W * A.
"""

import keras
import tensorflow as tf


class RPN(keras.Model):
    """Objectness and box deltas for every anchor.

    Args:
        channels: of the 3x3 convolution, those of the maps.
        num_anchors: A.

    Call arguments:
        features: a list of maps float [B, H, W, C].

    Returns:
        Two lists, one entry a level: objectness logits float32 [B, N] and deltas float32 [B, N, 4], (dx, dy, dw, dh),
        in the order of `AnchorGenerator`.

    Reference: Ren et al., Faster R-CNN, 2015, section 3.1.
    """

    def __init__(self, channels, num_anchors, **kwargs):
        super().__init__(**kwargs)
        init = keras.initializers.RandomNormal(stddev=0.01)
        self.conv = keras.layers.Conv2D(
            channels, 3, padding="same", activation="relu", kernel_initializer=init, name="conv"
        )
        self.objectness = keras.layers.Conv2D(num_anchors, 1, kernel_initializer=init, name="objectness")
        self.deltas = keras.layers.Conv2D(4 * num_anchors, 1, kernel_initializer=init, name="deltas")

    def call(self, features):
        hidden = [self.conv(fmap) for fmap in features]
        batch = tf.shape(features[0])[0]
        objectness = [tf.reshape(tf.cast(self.objectness(x), tf.float32), [batch, -1]) for x in hidden]
        deltas = [tf.reshape(tf.cast(self.deltas(x), tf.float32), [batch, -1, 4]) for x in hidden]
        return objectness, deltas
