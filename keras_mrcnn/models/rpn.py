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
        self.conv = _conv(channels, 3, "conv", activation="relu")
        self.objectness = _conv(num_anchors, 1, "objectness")
        self.deltas = _conv(4 * num_anchors, 1, "deltas")

    def call(self, features):
        hidden = [self.conv(fmap) for fmap in features]
        batch = tf.shape(features[0])[0]
        objectness = [tf.reshape(tf.cast(self.objectness(x), tf.float32), [batch, -1]) for x in hidden]
        deltas = [tf.reshape(tf.cast(self.deltas(x), tf.float32), [batch, -1, 4]) for x in hidden]
        return objectness, deltas


def _conv(channels, kernel_size, name, activation=None):
    # Every layer has an initializer of its own: one that is shared gives all the same values.
    init = keras.initializers.RandomNormal(stddev=0.01)
    return keras.layers.Conv2D(
        channels, kernel_size, padding="same", activation=activation, kernel_initializer=init, name=name
    )
