"""Mask head: which pixels of an RoI belong to the object.

Shapes: B batch, R RoIs, S side of the pooled map, M = 2 S mask side, C channels, K classes.
"""

import keras
import tensorflow as tf

from keras_mrcnn.layers.conv_norm import ConvNorm, he_normal


class MaskHead(keras.Model):
    """A fully convolutional head with an independent sigmoid mask for each class.

    Classes do not compete: the box head decides on the class, and only that class's mask counts.

    Args:
        num_classes: K, without the background.
        channels: of every convolution.
        convolutions: how many 3x3 convolutions come before the transposed one.
        norm, epsilon: of these convolutions, see `make_norm`; by default biases instead.

    Call arguments:
        pooled: float [B, R, S, S, C] from RoIAlign.
        training: whether batch statistics are used and moved, where `norm` has any and the head is not frozen.

    Returns:
        mask logits float32 [B, R, M, M, K + 1], background first.

    Reference: He et al., Mask R-CNN, 2017, section 3 and figure 4 (right).
    """

    def __init__(self, num_classes, channels=256, convolutions=4, norm=None, epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.num_outputs = num_classes + 1
        self.convs = [
            ConvNorm(channels, 3, norm=norm, epsilon=epsilon, name=f"conv{i + 1}") for i in range(convolutions)
        ]
        self.upsample = keras.layers.Conv2DTranspose(
            channels, 2, strides=2, activation="relu", kernel_initializer=he_normal(), name="upsample"
        )
        self.logits = keras.layers.Conv2D(self.num_outputs, 1, kernel_initializer=he_normal(), name="logits")

    def call(self, pooled, training=False):
        shape = tf.shape(pooled)
        x = tf.reshape(pooled, [-1, *pooled.shape[2:]])
        for conv in self.convs:
            x = tf.nn.relu(conv(x, training=training))
        x = tf.cast(self.logits(self.upsample(x)), tf.float32)
        return tf.reshape(x, [shape[0], shape[1], *x.shape[1:]])


def select_class(mask_logits, labels):
    """The mask logits float32 [B, R, M, M] of each RoI's class.

    Args:
        mask_logits: float32 [B, R, M, M, K + 1].
        labels: int32 [B, R], 0..K.
    """
    index = tf.broadcast_to(labels[:, :, None, None], tf.shape(mask_logits)[:-1])
    return tf.gather(mask_logits, index, batch_dims=4)
