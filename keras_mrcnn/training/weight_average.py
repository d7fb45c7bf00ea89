"""A moving average of the weights, with which a stage ends."""

from __future__ import annotations

import keras
import tensorflow as tf

from keras_mrcnn.training.stage import Stage


class WeightAverage(keras.callbacks.Callback):
    """Follows the weights of what a stage trains, the statistics of its norms among them.

    The momentum begins low, as (1 + t) / (10 + t) at step t, so that an average over few steps is not still made of
    the weights before them. The model itself trains on as if there were no average, until `assign`. Validation takes
    the average, so `val_loss` is that of the weights with which the stage would end.

    Args:
        stage: a compiled `Stage`.
        momentum: share of the average that a step leaves in place, 0..1.

    Reference: Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992; the exponential form
        as in Tarvainen and Valpola, Mean Teachers, 2017, section 2.
    """

    def __init__(self, stage: Stage, momentum: float):
        super().__init__()
        self.momentum, self.weights = momentum, stage.trained_weights()
        self.averages = [tf.Variable(tf.convert_to_tensor(weight), trainable=False) for weight in self.weights]
        self.steps = tf.Variable(0, dtype=tf.int64, trainable=False)

    @property
    def variables(self) -> list[tf.Variable]:
        """The variables that a checkpoint must hold."""
        return [self.steps, *self.averages]

    def on_train_batch_end(self, batch, logs=None):
        self.update()

    @tf.function(jit_compile=False)
    def update(self) -> None:
        """Moves the average towards the weights as they are now."""
        step = tf.cast(self.steps, tf.float32)
        share = 1.0 - tf.minimum(self.momentum, (1.0 + step) / (10.0 + step))
        self.steps.assign_add(1)
        for average, weight in zip(self.averages, self.weights):
            # Written so that what is frozen stays as it is to the bit.
            average.assign_add(share * (tf.convert_to_tensor(weight) - average))

    def on_test_begin(self, logs=None):
        self._swap()

    def on_test_end(self, logs=None):
        self._swap()

    def _swap(self):
        for average, weight in zip(self.averages, self.weights):
            value = weight.numpy()
            weight.assign(average)
            average.assign(value)

    def assign(self) -> None:
        """Gives the model the average."""
        for average, weight in zip(self.averages, self.weights):
            weight.assign(average)


def take_average(stage: Stage) -> bool:
    """Gives the model the average of its weights when its stage ends, and returns whether there is one.

    Args:
        stage: a compiled `Stage`, with a `WeightAverage` as `stage.weight_average`, or with an optimizer of
            tensorflow-addons that averages, or with neither.
    """
    if stage.weight_average is not None:
        stage.weight_average.assign()
    elif hasattr(stage.optimizer, "assign_average_vars"):
        stage.optimizer.assign_average_vars(stage.trainable_variables)
    else:
        return False
    return True
