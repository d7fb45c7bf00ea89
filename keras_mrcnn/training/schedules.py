"""Makes the learning-rate schedules of the stages."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_mrcnn.config import StageConfig


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


def make_schedule(settings: StageConfig, total_steps: int) -> Warmup:
    """Returns the learning rate of one stage.

    Args:
        settings: `StageConfig`.
        total_steps: number of steps of the whole stage.

    Returns:
        `Warmup` of a Keras schedule.
    """
    rate, schedules = settings.learning_rate, keras.optimizers.schedules
    if settings.schedule == "cosine":
        schedule = schedules.CosineDecay(rate, max(total_steps, 1))
    else:
        # Keras keeps a rate up to and including the boundary, counts steps from 0, and needs at least one boundary:
        # the last is the end of the stage.
        boundaries = [max(round(share * total_steps) - 1, 0) for share in (*settings.milestones, 1.0)]
        schedule = schedules.PiecewiseConstantDecay(boundaries, [rate * 0.1**k for k in range(len(boundaries) + 1)])
    # A short run must still reach its full rate: the warm-up takes at most a third of it.
    return Warmup(schedule, min(settings.warmup_steps, total_steps // 3))
