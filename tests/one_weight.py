"""The smallest model that trains in float16: one weight, whose gradient is what it is given.

As a program it trains on two devices and prints what came of it, for test_loss_scaling.py. It is a program of its own
because a CPU can be divided only before TensorFlow has started.
"""

from __future__ import annotations

import json

import keras
import numpy as np
import tensorflow as tf

from keras_mrcnn.training.loss_scaling import loss_scale, scale_losses
from keras_mrcnn.training.optimizers import SGD


class OneWeight(keras.Model):
    """Weight w, zero at first; the loss is the sum of w times the data, computed in float16."""

    def __init__(self):
        super().__init__(dtype="float32")
        self.w = self.add_weight(name="w", shape=(), initializer="zeros")

    def call(self, batch):
        w, gradients = (tf.cast(tf.convert_to_tensor(value), tf.float16) for value in (self.w, batch["gradients"]))
        return tf.cast(w * gradients, tf.float32)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **kwargs):
        return tf.reduce_sum(y_pred)

    def _maybe_symbolic_build(self, *args, **kwargs):
        """Nothing to build; see `Stage`."""


def fit_one_weight(optimizer, gradients, replicas=1):
    """Weight and loss scale after each step; every step takes as many gradients as there are replicas."""
    model, steps = OneWeight(), []
    model.compile(optimizer, jit_compile=False)
    optimizer.build(model.trainable_variables)

    class Record(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            steps.append([float(model.w.numpy()), float(loss_scale(optimizer).numpy())])

    data = tf.data.Dataset.from_tensor_slices({"gradients": np.array(gradients, np.float32)}).batch(replicas)
    model.fit(data, shuffle=False, callbacks=[Record()], verbose=0)
    return steps


def main():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    runs = {}
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        for name, clip_norm in {"plain": None, "clipped": 1.5}.items():
            gradients = [1.0, 1.0, 1.0, 4.0, 4.0, 1.0, 1.0, 2.0]
            runs[name] = fit_one_weight(scale_losses(SGD(1.0, clip_norm=clip_norm)), gradients, replicas=2)
    print(json.dumps(runs))


if __name__ == "__main__":
    main()
