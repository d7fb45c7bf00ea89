"""Loss scaling for float16, whose smallest numbers are greater than many gradients.

The loss is multiplied by a scale before the gradients are taken, and the gradients are divided by it. A step whose
gradients are not finite is left out and halves the scale; many good steps in a row double it.

Reference: Micikevicius et al., Mixed Precision Training, 2018, section 3.2.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from keras_mrcnn.compat import KERAS_3


def scale_losses(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Wraps a Keras optimizer in Keras' `LossScaleOptimizer`; the gradients that reach it are no longer scaled."""
    return LossScaleOptimizer(optimizer) if KERAS_3 else keras.mixed_precision.LossScaleOptimizer(optimizer)


class LossScaleOptimizer(keras.mixed_precision.LossScaleOptimizer):
    """Keras 3's own, except that a gradient which overflows on one replica alone stops the step on all.

    Keras 3 asks the first replica only, before the gradients are added up; Keras 2.15 adds up first.
    """

    def build(self, variables: list) -> None:
        """Makes the variables; a second call changes nothing, where Keras 3 would begin with new ones."""
        if not self.built:
            super().build(variables)

    def check_finite(self, grads: list) -> tf.Tensor:
        """Whether all gradients of all replicas are finite, a bool scalar."""
        context = tf.distribute.get_replica_context()
        broken = tf.cast(tf.logical_not(super().check_finite(grads)), tf.float32)
        return context.all_reduce(tf.distribute.ReduceOp.SUM, broken) == 0.0


def loss_scale(optimizer: keras.optimizers.Optimizer) -> tf.Variable | None:
    """Returns the scale of a built optimizer of `scale_losses`, a variable; None for any other optimizer."""
    if hasattr(optimizer, "dynamic_scale"):
        return optimizer.dynamic_scale
    return optimizer._loss_scale.current_loss_scale if hasattr(optimizer, "loss_scale") else None


def hidden_variables(optimizer: keras.optimizers.Optimizer) -> list[tf.Variable]:
    """Returns the variables of the loss scaling that are not among `optimizer.variables`: all of them on Keras 2.15."""
    if KERAS_3 or loss_scale(optimizer) is None:
        return []
    return [loss_scale(optimizer), optimizer.dynamic_counter]
