"""Makes the optimizers of the stages: SGD and AdamW, which clip gradients alike on any number of devices, and those of
tensorflow-addons.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from keras_mrcnn.addons import ADDONS_WRAPPERS, addons_optimizer
from keras_mrcnn.base.errors import UserError
from keras_mrcnn.compat import KERAS_3
from keras_mrcnn.config import StageConfig
from keras_mrcnn.training.loss_scaling import scale_losses
from keras_mrcnn.training.schedules import REFERENCE_BATCH, Scaled, make_schedule


class ClipReducedGradients:
    """Adds to a Keras optimizer a bound on the norm of all gradients together, summed over the replicas.

    On some versions Keras' own `global_clipnorm` bounds the gradients of each replica separately, so that training
    depends on the number of devices. A common factor may be applied before or after the sum, so this class applies it
    first and leaves everything else to Keras.

    Args:
        clip_norm: the bound, or None.

    Reference: Pascanu et al., On the difficulty of training recurrent neural networks, 2013, algorithm 1.
    """

    def __init__(self, *args: Any, clip_norm: float | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.clip_norm = clip_norm

    def apply_gradients(self, grads_and_vars: Iterable[tuple], *args: Any, **kwargs: Any) -> Any:
        """Clips the gradients of this replica's share of the loss and applies them as the optimizer does."""
        if self.clip_norm is None or KERAS_3:  # Keras 3 calls `apply` from here
            return super().apply_gradients(grads_and_vars, *args, **kwargs)
        gradients, variables = zip(*grads_and_vars)
        # The loss scaling of Keras 2.15 has summed the gradients over the replicas already.
        clipped = self._clip(gradients, reduced=kwargs.get("skip_gradients_aggregation", False))
        return super().apply_gradients(zip(clipped, variables), *args, **kwargs)

    def apply(self, grads: list, trainable_variables: list | None = None) -> Any:
        """Clips and applies gradients on Keras 3, whose loss scaling calls this instead of `apply_gradients`."""
        return super().apply(grads if self.clip_norm is None else self._clip(grads), trainable_variables)

    def _clip(self, gradients, reduced=False):
        total = gradients
        if not reduced:
            total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        factor = tf.minimum(self.clip_norm / tf.linalg.global_norm(total), 1.0)
        return [gradient * factor for gradient in gradients]

    def get_config(self) -> dict:
        """Returns what `from_config` needs."""
        return {**super().get_config(), "clip_norm": self.clip_norm}


@keras.saving.register_keras_serializable("keras_mrcnn")
class SGD(ClipReducedGradients, keras.optimizers.SGD):
    """`keras.optimizers.SGD` with `clip_norm`, see `ClipReducedGradients`."""


@keras.saving.register_keras_serializable("keras_mrcnn")
class AdamW(ClipReducedGradients, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` with `clip_norm`, see `ClipReducedGradients`."""


def make_optimizer(
    settings: StageConfig, total_steps: int, precision: str = "float32", batch_size: int = REFERENCE_BATCH
) -> keras.optimizers.Optimizer:
    """Returns the optimizer of one stage.

    Args:
        settings: `StageConfig`.
        total_steps: number of steps of the whole stage.
        precision: Keras dtype policy of the networks; "mixed_float16" adds loss scaling.
        batch_size: images in a step.

    Returns:
        A Keras optimizer; weight decay is decoupled from the gradient.

    Raises:
        ImportError: the optimizer needs tensorflow-addons, which cannot be imported here.
        ValueError: the optimizer does not take its `optimizer_settings`, or cannot be combined with other settings.
    """
    schedule = make_schedule(settings, total_steps, batch_size)
    if settings.optimizer not in ("sgd", "adamw"):
        if precision == "mixed_float16":
            raise UserError(
                f"optimizer {settings.optimizer} has no loss scaling for mixed_float16; use sgd or adamw, or set "
                "train.precision to mixed_bfloat16 or float32"
            )
        return _from_addons(settings, schedule, total_steps)
    common = {"learning_rate": schedule, "clip_norm": settings.clip_norm}
    if settings.optimizer == "adamw":
        optimizer = AdamW(weight_decay=settings.weight_decay, **common)
    else:
        optimizer = SGD(momentum=settings.momentum, weight_decay=settings.weight_decay or None, **common)
    return scale_losses(optimizer) if precision == "mixed_float16" else optimizer


def _from_addons(settings, schedule, total_steps):
    """Returns an optimizer of tensorflow-addons. These clip the sum over the replicas themselves."""
    further, replicas = dict(settings.optimizer_settings), tf.distribute.get_strategy().num_replicas_in_sync
    if settings.optimizer == "swa" and replicas > 1:
        raise UserError(f"optimizer swa averages wrongly on {replicas} devices; set average, or train on one device")
    if further.get("start_averaging", 0) >= max(total_steps, 1):
        raise UserError(
            f"start_averaging {further['start_averaging']} is not before the end of the stage at step {total_steps}, "
            "so there would be no average; lower it in optimizer_settings"
        )
    if settings.optimizer in ADDONS_WRAPPERS:
        further["inner"] = {"sgd": "SGDW", "adamw": "AdamW"}[settings.inner_optimizer]
        # Their weight decay is a share of the weight for each step; that of Keras is multiplied by the learning rate.
        further["inner_settings"] = {"weight_decay": Scaled(schedule, settings.weight_decay)}
        if settings.inner_optimizer == "sgd":
            further["inner_settings"]["momentum"] = settings.momentum
    else:
        further["weight_decay"] = settings.weight_decay
    if settings.clip_norm is not None:
        further["global_clipnorm"] = settings.clip_norm
    try:
        return addons_optimizer(settings.optimizer, schedule, **further)
    except TypeError as error:
        names = ", ".join(settings.optimizer_settings)
        raise UserError(f"optimizer {settings.optimizer} does not take optimizer_settings {names}: {error}") from None
