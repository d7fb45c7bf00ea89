"""Learning rate over the steps of a stage, and what follows it."""

from __future__ import annotations

import keras
import tensorflow as tf

from keras_mrcnn.config import StageConfig


@keras.saving.register_keras_serializable("keras_mrcnn")
class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to what `schedule` says, over the first steps.

    Args:
        schedule: a Keras `LearningRateSchedule`.
        steps: over how many steps.

    Reference: Goyal et al., Accurate, Large Minibatch SGD, 2017, section 2.2.
    """

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule, steps: int):
        self.schedule, self.steps = schedule, steps

    def __call__(self, step):
        share = (tf.cast(step, tf.float32) + 1.0) / max(self.steps, 1)
        return tf.cast(self.schedule(step), tf.float32) * tf.minimum(share, 1.0)

    def get_config(self) -> dict:
        return {"schedule": keras.optimizers.schedules.serialize(self.schedule), "steps": self.steps}

    @classmethod
    def from_config(cls, config: dict) -> keras.optimizers.schedules.LearningRateSchedule:
        return cls(keras.optimizers.schedules.deserialize(config["schedule"]), config["steps"])


@keras.saving.register_keras_serializable("keras_mrcnn")
class Scaled(keras.optimizers.schedules.LearningRateSchedule):
    """`factor` times what `schedule` says.

    Args:
        schedule: a Keras `LearningRateSchedule`.
        factor: float.
    """

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule, factor: float):
        self.schedule, self.factor = schedule, factor

    def __call__(self, step):
        return tf.cast(self.schedule(step), tf.float32) * self.factor

    def get_config(self) -> dict:
        return {"schedule": keras.optimizers.schedules.serialize(self.schedule), "factor": self.factor}

    @classmethod
    def from_config(cls, config: dict) -> keras.optimizers.schedules.LearningRateSchedule:
        return cls(keras.optimizers.schedules.deserialize(config["schedule"]), config["factor"])


def make_schedule(settings: StageConfig, total_steps: int) -> Warmup:
    """Returns the learning rate of one stage.

    Args:
        settings: `StageConfig`.
        total_steps: of the whole stage.

    Returns:
        `Warmup` of a Keras schedule.
    """
    rate, schedules = settings.learning_rate, keras.optimizers.schedules
    if settings.schedule == "cosine":
        schedule = schedules.CosineDecay(rate, max(total_steps, 1))
    else:
        # Keras keeps a rate up to and including the boundary, counts steps from 0, and wants one boundary at least:
        # the last is the end of the stage.
        boundaries = [max(round(share * total_steps) - 1, 0) for share in (*settings.milestones, 1.0)]
        schedule = schedules.PiecewiseConstantDecay(boundaries, [rate * 0.1**k for k in range(len(boundaries) + 1)])
    # A short run must still reach its full rate: the warm-up takes at most a third of it.
    return Warmup(schedule, min(settings.warmup_steps, total_steps // 3))
