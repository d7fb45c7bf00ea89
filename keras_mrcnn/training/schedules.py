"""Makes the learning-rate schedules of the stages, for any batch size."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from keras_mrcnn.addons import ADDONS_WRAPPERS
from keras_mrcnn.config import StageConfig
from keras_mrcnn.training.stage_lengths import warmup_steps

REFERENCE_BATCH = 16  # images in a step, for which the settings give the learning rate


@keras.saving.register_keras_serializable("keras_mrcnn")
class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that rises linearly to `schedule` over the first steps.

    Args:
        schedule: a Keras `LearningRateSchedule`.
        steps: number of steps of the rise.

    Reference: Goyal et al., Accurate, Large Minibatch SGD, 2017, section 2.2.
    """

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule, steps: int):
        self.schedule, self.steps = schedule, steps

    def __call__(self, step: Any) -> tf.Tensor:
        share = (tf.cast(step, tf.float32) + 1.0) / max(self.steps, 1)
        return tf.cast(self.schedule(step), tf.float32) * tf.minimum(share, 1.0)

    def get_config(self) -> dict:
        """Returns what `from_config` needs."""
        return {"schedule": keras.optimizers.schedules.serialize(self.schedule), "steps": self.steps}

    @classmethod
    def from_config(cls, config: dict) -> keras.optimizers.schedules.LearningRateSchedule:
        """Makes a schedule from the result of `get_config`."""
        return cls(keras.optimizers.schedules.deserialize(config["schedule"]), config["steps"])


@keras.saving.register_keras_serializable("keras_mrcnn")
class Scaled(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that multiplies another one by a factor.

    Args:
        schedule: a Keras `LearningRateSchedule`.
        factor: the factor.
    """

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule, factor: float):
        self.schedule, self.factor = schedule, factor

    def __call__(self, step: Any) -> tf.Tensor:
        return tf.cast(self.schedule(step), tf.float32) * self.factor

    def get_config(self) -> dict:
        """Returns what `from_config` needs."""
        return {"schedule": keras.optimizers.schedules.serialize(self.schedule), "factor": self.factor}

    @classmethod
    def from_config(cls, config: dict) -> keras.optimizers.schedules.LearningRateSchedule:
        """Makes a schedule from the result of `get_config`."""
        return cls(keras.optimizers.schedules.deserialize(config["schedule"]), config["factor"])


def scaled_learning_rate(settings: StageConfig, batch_size: int) -> float:
    """Returns the learning rate of a stage for a batch size.

    With SGD it grows with the number of images in a step. The adaptive optimizers divide the gradient by its own size,
    and their rate grows with the square root.

    Args:
        settings: `StageConfig`; its learning rate is for `REFERENCE_BATCH` images.
        batch_size: images in a step.

    Example:
        >>> scaled_learning_rate(StageConfig(learning_rate=0.02), 2)
        0.0025

    Reference: Goyal et al., Accurate, Large Minibatch SGD, 2017, section 2.1; Malladi et al., On the SDEs and Scaling
        Rules for Adaptive Gradient Algorithms, 2022.
    """
    optimizer = settings.inner_optimizer if settings.optimizer in ADDONS_WRAPPERS else settings.optimizer
    ratio = batch_size / REFERENCE_BATCH
    return settings.learning_rate * (ratio if optimizer == "sgd" else math.sqrt(ratio))


def make_schedule(settings: StageConfig, total_steps: int, batch_size: int = REFERENCE_BATCH) -> Warmup:
    """Returns the learning rate of one stage.

    Args:
        settings: `StageConfig`.
        total_steps: number of steps of the whole stage.
        batch_size: images in a step.

    Returns:
        `Warmup` of a Keras schedule.
    """
    rate, schedules = scaled_learning_rate(settings, batch_size), keras.optimizers.schedules
    if settings.schedule == "cosine":
        schedule = schedules.CosineDecay(rate, max(total_steps, 1))
    else:
        # Keras keeps a rate up to and including the boundary, counts steps from 0, and needs at least one boundary:
        # the last is the end of the stage.
        boundaries = [max(round(share * total_steps) - 1, 0) for share in (*settings.milestones, 1.0)]
        schedule = schedules.PiecewiseConstantDecay(boundaries, [rate * 0.1**k for k in range(len(boundaries) + 1)])
    return Warmup(schedule, warmup_steps(settings, total_steps))
