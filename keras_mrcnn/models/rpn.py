"""Region proposal network: a small fully convolutional head that runs on every level.

Shapes: B batch, H W C of a level, A anchors per cell, N = H * W * A.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_mrcnn.layers.conv_norm import ConvNorm


class RPN(keras.Model):
    """Network that computes the objectness and the box deltas of every anchor.

    Args:
        channels: output channels of the 3x3 convolutions, as many as the maps have.
        num_anchors: A.
        convolutions: number of 3x3 convolutions.

    Call arguments:
        features: a list of maps float [B, H, W, C].

    Returns:
        Two lists with an entry per level: objectness logits float32 [B, N] and deltas float32 [B, N, 4],
        (dx, dy, dw, dh), in the order of `AnchorGenerator`.

    Reference: Ren et al., Faster R-CNN, 2015, section 3.1.
    """

    def __init__(self, channels: int, num_anchors: int, convolutions: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.convs = [
            ConvNorm(channels, 3, initializer=_small_normal(), name=f"conv{i + 1}") for i in range(convolutions)
        ]
        self.objectness = keras.layers.Conv2D(num_anchors, 1, kernel_initializer=_small_normal(), name="objectness")
        self.deltas = keras.layers.Conv2D(4 * num_anchors, 1, kernel_initializer=_small_normal(), name="deltas")
        self.built = True  # its layers build themselves; otherwise Keras 3 would first trace `call` to build them

    def call(self, features: list[tf.Tensor]) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Returns the objectness logits and the deltas of each level."""
        batch = tf.shape(features[0])[0]
        objectness, deltas = [], []
        for x in features:
            for conv in self.convs:
                x = tf.nn.relu(conv(x))
            objectness.append(tf.reshape(tf.cast(self.objectness(x), tf.float32), [batch, -1]))
            deltas.append(tf.reshape(tf.cast(self.deltas(x), tf.float32), [batch, -1, 4]))
        return objectness, deltas


def _small_normal() -> keras.initializers.Initializer:
    """Returns a new initializer; layers that shared one would start with equal values."""
    return keras.initializers.RandomNormal(stddev=0.01)
