"""Box head: the class of each RoI, and the correction of its box.

Shapes: B batch, R RoIs, S side of the pooled map, C channels, K classes.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_mrcnn.layers.conv_norm import ConvNorm


class BoxHead(keras.Model):
    """Head of convolutions (none in the paper) and fully connected layers, with a classifier and a box regressor.

    Args:
        num_classes: K, without the background.
        channels: output channels of each fully connected layer.
        dense_layers: number of fully connected layers.
        convolutions: number of 3x3 convolutions before them.
        conv_channels: output channels of each convolution.
        norm, epsilon: of the convolutions, see `make_norm`; without a norm they have biases.

    Call arguments:
        pooled: float [B, R, S, S, C] from RoIAlign.
        training: whether norms with batch statistics use and update them, unless the head is frozen.

    Returns:
        class logits float32 [B, R, K + 1], background first, and deltas float32 [B, R, K + 1, 4].

    Reference: Girshick, Fast R-CNN, 2015, section 2; Lin et al., Feature Pyramid Networks, 2017, section 4.2; with
        convolutions Wu and He, Group Normalization, 2018, section 4.2.
    """

    def __init__(
        self,
        num_classes: int,
        channels: int = 1024,
        dense_layers: int = 2,
        convolutions: int = 0,
        conv_channels: int = 256,
        norm: str | None = None,
        epsilon: float = 1e-5,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_outputs = num_classes + 1
        self.convs = [
            ConvNorm(conv_channels, 3, norm=norm, epsilon=epsilon, name=f"conv{i + 1}") for i in range(convolutions)
        ]
        self.dense = [
            keras.layers.Dense(channels, activation="relu", kernel_initializer="he_uniform", name=f"fc{6 + i}")
            for i in range(dense_layers)
        ]
        self.classes = keras.layers.Dense(
            self.num_outputs, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01), name="classes"
        )
        self.deltas = keras.layers.Dense(
            4 * self.num_outputs, kernel_initializer=keras.initializers.RandomNormal(stddev=0.001), name="deltas"
        )
        self.built = True  # its layers build themselves; otherwise Keras 3 would first trace `call` to build them

    def call(self, pooled: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the class logits and box deltas of the RoIs."""
        shape = tf.shape(pooled)
        x = tf.reshape(pooled, [-1, *pooled.shape[2:]])
        for conv in self.convs:
            x = tf.nn.relu(conv(x, training=training))
        x = tf.reshape(x, [-1, x.shape[1] * x.shape[2] * x.shape[3]])
        for dense in self.dense:
            x = dense(x)
        class_logits = tf.reshape(tf.cast(self.classes(x), tf.float32), [shape[0], shape[1], self.num_outputs])
        deltas = tf.reshape(tf.cast(self.deltas(x), tf.float32), [shape[0], shape[1], self.num_outputs, 4])
        return class_logits, deltas
