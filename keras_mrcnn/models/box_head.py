"""Box head: what an RoI shows, and where its box should be.

Shapes: B batch, R RoIs, S side of the pooled map, C channels, K classes.
"""

import keras
import tensorflow as tf


class BoxHead(keras.Model):
    """Two fully connected layers, then class logits and class-specific box deltas.

    Args:
        num_classes: K, without the background.
        channels: of both hidden layers.

    Call arguments:
        pooled: float [B, R, S, S, C] from RoIAlign.

    Returns:
        class logits float32 [B, R, K + 1], background first, and deltas float32 [B, R, K + 1, 4].

    Reference: Girshick, Fast R-CNN, 2015, section 2; Lin et al., Feature Pyramid Networks, 2017, section 4.2.
    """

    def __init__(self, num_classes, channels=1024, **kwargs):
        super().__init__(**kwargs)
        self.num_outputs = num_classes + 1
        self.fc6 = keras.layers.Dense(channels, activation="relu", kernel_initializer="he_uniform", name="fc6")
        self.fc7 = keras.layers.Dense(channels, activation="relu", kernel_initializer="he_uniform", name="fc7")
        self.classes = keras.layers.Dense(
            self.num_outputs, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01), name="classes"
        )
        self.deltas = keras.layers.Dense(
            4 * self.num_outputs, kernel_initializer=keras.initializers.RandomNormal(stddev=0.001), name="deltas"
        )

    def call(self, pooled):
        shape = tf.shape(pooled)
        size = pooled.shape[2] * pooled.shape[3] * pooled.shape[4]
        hidden = self.fc7(self.fc6(tf.reshape(pooled, [-1, size])))
        class_logits = tf.reshape(tf.cast(self.classes(hidden), tf.float32), [shape[0], shape[1], self.num_outputs])
        deltas = tf.reshape(tf.cast(self.deltas(hidden), tf.float32), [shape[0], shape[1], self.num_outputs, 4])
        return class_logits, deltas
