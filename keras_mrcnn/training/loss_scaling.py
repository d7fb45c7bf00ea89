"""Scales losses for float16, whose smallest numbers are greater than many gradients.

The loss is multiplied by a scale before the gradients are computed, and the gradients are divided by it. A step whose
gradients are not finite is skipped and halves the scale; many good steps in a row double it.

Reference: Micikevicius et al., Mixed Precision Training, 2018, section 3.2.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from keras_mrcnn.compat import KERAS_3


def scale_losses(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Wraps a Keras optimizer in Keras' `LossScaleOptimizer`, which passes unscaled gradients on to it."""
    return LossScaleOptimizer(optimizer) if KERAS_3 else keras.mixed_precision.LossScaleOptimizer(optimizer)


class LossScaleOptimizer(keras.mixed_precision.LossScaleOptimizer):
    """Keras 3's `LossScaleOptimizer`, but an overflow on one replica skips the step on all of them.

    Keras 3 checks only the gradients of the first replica, before they are summed; Keras 2.15 sums them first.
    """

    def build(self, variables: list) -> None:
        """Makes the variables; a second call changes nothing, while Keras 3 would make new ones."""
        if not self.built:
            super().build(variables)

    def check_finite(self, grads: list) -> tf.Tensor:
        """Returns whether all gradients of all replicas are finite, a bool scalar."""
        context = tf.distribute.get_replica_context()
        overflow = tf.cast(tf.logical_not(super().check_finite(grads)), tf.float32)
        return context.all_reduce(tf.distribute.ReduceOp.SUM, overflow) == 0.0


def loss_scale(optimizer: keras.optimizers.Optimizer) -> tf.Variable | None:
    """Returns the scale, a variable, of a built optimizer of `scale_losses`; None for any other optimizer."""
    if hasattr(optimizer, "dynamic_scale"):
        return optimizer.dynamic_scale
    return optimizer._loss_scale.current_loss_scale if hasattr(optimizer, "loss_scale") else None


def hidden_variables(optimizer: keras.optimizers.Optimizer) -> list[tf.Variable]:
    """Returns the variables of the loss scaling that `optimizer.variables` lacks: all of them on Keras 2.15."""
    if KERAS_3 or loss_scale(optimizer) is None:
        return []
    return [loss_scale(optimizer), optimizer.dynamic_counter]
