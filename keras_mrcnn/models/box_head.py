"""Box head: what an RoI shows, and where its box should be.

Shapes: B batch, R RoIs, S side of the pooled map, C channels, K classes.
"""

import keras
import tensorflow as tf

from keras_mrcnn.layers.conv_norm import ConvNorm


class BoxHead(keras.Model):
    """Convolutions (none in the paper) and fully connected layers, then class logits and class-specific box deltas.

    Args:
        num_classes: K, without the background.
        channels: of the fully connected layers.
        dense_layers: how many of them there are.
        convolutions: how many 3x3 convolutions come before them.
        conv_channels: of each convolution.
        norm, epsilon: of the convolutions, see `make_norm`; by default biases instead.

    Call arguments:
        pooled: float [B, R, S, S, C] from RoIAlign.
        training: whether batch statistics are used and moved, where `norm` has any and the head is not frozen.

    Returns:
        class logits float32 [B, R, K + 1], background first, and deltas float32 [B, R, K + 1, 4].

    Reference: Girshick, Fast R-CNN, 2015, section 2; Lin et al., Feature Pyramid Networks, 2017, section 4.2; with
        convolutions Wu and He, Group Normalization, 2018, section 4.2.
    """

    def __init__(
        self,
        num_classes,
        channels=1024,
        dense_layers=2,
        convolutions=0,
        conv_channels=256,
        norm=None,
        epsilon=1e-5,
        **kwargs,
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
        self.built = True  # its layers build themselves; Keras 3 would trace `call` once more for each level

    def call(self, pooled, training=False):
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
