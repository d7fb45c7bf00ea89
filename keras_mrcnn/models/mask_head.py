"""Mask head: which pixels of an RoI belong to the object.

Shapes: B batch, R RoIs, N = B R, S side of the pooled map, M = 2 S mask side, C channels, K classes.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_mrcnn.layers.conv_norm import ConvNorm, he_normal


class MaskHead(keras.Model):
    """Fully convolutional head with an independent sigmoid mask for each class.

    Classes do not compete: the box head decides on the class, and only the mask of that class counts. The head computes
    that mask alone.

    Args:
        num_classes: K, without the background.
        channels: output channels of every convolution.
        convolutions: number of 3x3 convolutions before the transposed one.
        norm, epsilon: of these convolutions, see `make_norm`; without a norm they have biases.

    Call arguments:
        pooled: float [B, R, S, S, C] from RoIAlign.
        labels: int32 [B, R], 0..K, the class whose mask to compute for each RoI; the mask of class 0, the background,
            has no meaning.
        training: whether norms with batch statistics use and update them, unless the head is frozen.

    Returns:
        mask logits float32 [B, R, M, M].

    Reference: He et al., Mask R-CNN, 2017, section 3 and figure 4 (right).
    """

    def __init__(
        self,
        num_classes: int,
        channels: int = 256,
        convolutions: int = 4,
        norm: str | None = None,
        epsilon: float = 1e-5,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.convs = [
            ConvNorm(channels, 3, norm=norm, epsilon=epsilon, name=f"conv{i + 1}") for i in range(convolutions)
        ]
        # These two only hold weights: `call` computes the same in an order of its own.
        self.upsample = keras.layers.Conv2DTranspose(
            channels, 2, strides=2, kernel_initializer=he_normal(), name="upsample"
        )
        self.logits = keras.layers.Conv2D(num_classes + 1, 1, kernel_initializer=he_normal(), name="logits")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the weights for pooled maps [B, R, S, S, C]."""
        shape = [None, *input_shape[2:]]
        for conv in self.convs:
            conv.build(shape)
            shape = [*shape[:3], conv.conv.filters]
        self.upsample.build(shape)
        self.logits.build([*shape[:3], self.upsample.filters])
        self.built = True

    def call(self, pooled: tf.Tensor, labels: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the mask logits of each RoI for its class."""
        shape = tf.shape(pooled)
        x = tf.reshape(pooled, [-1, *pooled.shape[2:]])
        for conv in self.convs:
            x = tf.nn.relu(conv(x, training=training))
        side = x.shape[1]
        x = self._logits(self._quarters(x), tf.reshape(labels, [-1]))
        x = tf.nn.depth_to_space(tf.reshape(x, [-1, side, side, 4]), 2)
        return tf.reshape(x, [shape[0], shape[1], 2 * side, 2 * side])

    def _quarters(self, x: tf.Tensor) -> tf.Tensor:
        """Applies the transposed convolution to [N, S, S, C]: [N, S * S * 4, C], four quarters of each cell in a row.

        Its stride is the side of its kernel, so cells do not overlap, and one matrix product computes it.
        """
        kernel = tf.cast(tf.convert_to_tensor(self.upsample.kernel), x.dtype)  # [2, 2, out, in]
        out, channels = kernel.shape[2:]
        kernel = tf.reshape(tf.transpose(kernel, [3, 0, 1, 2]), [channels, 4 * out])
        bias = tf.tile(tf.cast(tf.convert_to_tensor(self.upsample.bias), x.dtype), [4])
        # In this order runtimes fuse product, bias and ReLU into one operation.
        quarters = tf.nn.relu(tf.nn.bias_add(tf.matmul(tf.reshape(x, [-1, channels]), kernel), bias))
        return tf.reshape(quarters, [-1, x.shape[1] * x.shape[2] * 4, out])

    def _logits(self, quarters: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Applies the last convolution, of each RoI's own class, labels int32 [N]: float32 [N, S * S * 4]."""
        kernel = tf.cast(tf.convert_to_tensor(self.logits.kernel)[0, 0], quarters.dtype)
        own_kernel = tf.gather(tf.transpose(kernel), labels)[:, :, None]
        # Gathering from the variable itself would give a sparse gradient, which optimizers treat differently.
        own_bias = tf.gather(tf.reshape(tf.convert_to_tensor(self.logits.bias), [-1, 1]), labels)
        return tf.cast(tf.matmul(quarters, own_kernel)[:, :, 0], tf.float32) + tf.cast(own_bias, tf.float32)
