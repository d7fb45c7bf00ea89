"""Region proposal network: a small fully convolutional head slid over every level.

Shapes: B batch, H W C of a level, A anchors per cell, N = H * W * A.
"""

import keras
import tensorflow as tf

from keras_mrcnn.layers.conv_norm import ConvNorm


class RPN(keras.Model):
    """Objectness and box deltas for every anchor.

    Args:
        channels: of the 3x3 convolutions, those of the maps.
        num_anchors: A.
        convolutions: how many 3x3 convolutions there are.

    Call arguments:
        features: a list of maps float [B, H, W, C].

    Returns:
        Two lists, one entry a level: objectness logits float32 [B, N] and deltas float32 [B, N, 4], (dx, dy, dw, dh),
        in the order of `AnchorGenerator`.

    Reference: Ren et al., Faster R-CNN, 2015, section 3.1.
    """

    def __init__(self, channels, num_anchors, convolutions=1, **kwargs):
        super().__init__(**kwargs)
        self.convs = [
            ConvNorm(channels, 3, initializer=_small_normal(), name=f"conv{i + 1}") for i in range(convolutions)
        ]
        self.objectness = keras.layers.Conv2D(num_anchors, 1, kernel_initializer=_small_normal(), name="objectness")
        self.deltas = keras.layers.Conv2D(4 * num_anchors, 1, kernel_initializer=_small_normal(), name="deltas")
        self.built = True  # its layers build themselves; Keras 3 would trace `call` once more for each level

    def call(self, features):
        batch = tf.shape(features[0])[0]
        objectness, deltas = [], []
        for x in features:
            for conv in self.convs:
                x = tf.nn.relu(conv(x))
            objectness.append(tf.reshape(tf.cast(self.objectness(x), tf.float32), [batch, -1]))
            deltas.append(tf.reshape(tf.cast(self.deltas(x), tf.float32), [batch, -1, 4]))
        return objectness, deltas


def _small_normal():
    """An initializer for one layer: one that is shared gives all layers the same values."""
    return keras.initializers.RandomNormal(stddev=0.01)
