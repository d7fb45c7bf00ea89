"""The optimizers of the stages: SGD and AdamW whose gradient clipping means the same on any number of devices."""

import keras
import tensorflow as tf

from keras_mrcnn.training.schedules import make_schedule


class ClipReducedGradients:
    """Makes a Keras optimizer bound the norm of all gradients together, summed over the replicas.

    Keras' own `global_clipnorm` bounds each replica's gradients by themselves on some versions, and training then
    depends on the number of devices. A common factor may be applied before the sum as well as after it, so
    this one comes first and leaves all else to Keras.

    Args:
        clip_norm: the bound, or None.

    Reference: Pascanu et al., On the difficulty of training recurrent neural networks, 2013, algorithm 1.
    """

    def __init__(self, *args, clip_norm=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.clip_norm = clip_norm

    def apply_gradients(self, grads_and_vars, *args, **kwargs):
        """As the optimizer's own, on the gradients of this replica's share of the loss."""
        if self.clip_norm is None:
            return super().apply_gradients(grads_and_vars, *args, **kwargs)
        gradients, variables = zip(*grads_and_vars)
        reduced = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        factor = tf.minimum(self.clip_norm / tf.linalg.global_norm(reduced), 1.0)
        clipped = [gradient * factor for gradient in gradients]
        return super().apply_gradients(zip(clipped, variables), *args, **kwargs)

    def get_config(self):
        return {**super().get_config(), "clip_norm": self.clip_norm}


@keras.saving.register_keras_serializable("keras_mrcnn")
class SGD(ClipReducedGradients, keras.optimizers.SGD):
    """`keras.optimizers.SGD` with `clip_norm`, see `ClipReducedGradients`."""


@keras.saving.register_keras_serializable("keras_mrcnn")
class AdamW(ClipReducedGradients, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` with `clip_norm`, see `ClipReducedGradients`."""


def make_optimizer(settings, total_steps):
    """The optimizer of one stage.

    Args:
        settings: `StageConfig`.
        total_steps: of the whole stage.

    Returns:
        A Keras optimizer; weight decay is decoupled from the gradient.
    """
    common = {"learning_rate": make_schedule(settings, total_steps), "clip_norm": settings.clip_norm}
    if settings.optimizer == "adamw":
        return AdamW(weight_decay=settings.weight_decay, **common)
    return SGD(momentum=settings.momentum, weight_decay=settings.weight_decay or None, **common)
