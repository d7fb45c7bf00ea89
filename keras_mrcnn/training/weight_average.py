"""Averages the weights over the steps of a stage, which ends with the average."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_mrcnn.training.stage import Stage


class WeightAverage(keras.callbacks.Callback):
    """Keeps a moving average of the weights that a stage trains, including the statistics of its norms.

    The momentum begins low, (1 + t) / (10 + t) at step t, so that the initial weights soon drop out of the average. The
    model itself trains as if there were no average, until `assign`. Validation uses the average, so `val_loss` is that
    of the weights with which the stage would end.

    Args:
        stage: a compiled `Stage`.
        momentum: share of the average that a step keeps, 0..1.

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
        """Returns the variables that a checkpoint must hold."""
        return [self.steps, *self.averages]

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Updates the average."""
        self.update()

    @tf.function(jit_compile=False)
    def update(self) -> None:
        """Moves the average towards the weights as they are now."""
        step = tf.cast(self.steps, tf.float32)
        share = 1.0 - tf.minimum(self.momentum, (1.0 + step) / (10.0 + step))
        self.steps.assign_add(1)
        for average, weight in zip(self.averages, self.weights):
            # In this form frozen weights stay the same to the bit.
            average.assign_add(share * (tf.convert_to_tensor(weight) - average))

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Gives the model the average for validation."""
        self._swap()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Gives the model its own weights back."""
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
    """Gives the model the average of its weights at the end of its stage, and returns whether there is one.

    Args:
        stage: a compiled `Stage` with a `WeightAverage` as `stage.weight_average`, with an optimizer of
            tensorflow-addons that averages, or without either.
    """
    if stage.weight_average is not None:
        stage.weight_average.assign()
    elif hasattr(stage.optimizer, "assign_average_vars"):
        stage.optimizer.assign_average_vars(stage.trainable_variables)
    else:
        return False
    return True
