"""Chooses the lengths of the stages that the settings leave open, from the number of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from keras_mrcnn.base.stage_names import STAGES
from keras_mrcnn.config import Config, StageConfig

# The 1x schedule of COCO: 90,000 steps of 16 images.
COCO_IMAGES, COCO_EPOCHS = 117_266, 12
WARMUP_SHARE, LONGEST_WARMUP = 0.1, 500


class Length(NamedTuple):
    """The length of a stage; 0 epochs leave it out."""

    epochs: int
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        """Returns the number of steps of the whole stage."""
        return self.epochs * self.steps_per_epoch


def default_passes(num_images: int) -> float:
    """Returns how often a stage should see each image.

    On COCO this is 12 times, as in its 1x schedule. A set with a sixteenth of the images has twice as many passes, so
    that a stage has an eighth of the steps: fewer images must be seen more often, but also teach less. The rule lies
    between the published schedules for Pascal VOC (17 passes over 16,551 images; 20 by the rule) and Cityscapes (64
    passes over 2,975 images; 30 by the rule).

    Args:
        num_images: of the training data.

    Example:
        >>> [round(default_passes(count)) for count in (60, 1_000, 117_266)]
        [80, 39, 12]

    Reference: the configurations of detectron2 for these data sets.
    """
    return COCO_EPOCHS * (COCO_IMAGES / max(num_images, 1)) ** 0.25


def steps_per_epoch(settings: StageConfig, num_images: int, batch_size: int) -> int:
    """Returns the number of steps in an epoch of a stage: those that are set, or one pass over the images."""
    return settings.steps_per_epoch or max(num_images // batch_size, 1)


def warmup_steps(settings: StageConfig, total_steps: int) -> int:
    """Returns the number of steps in which the learning rate of a stage rises.

    Args:
        settings: `StageConfig`; for "auto" a tenth of the stage, at most 500 steps.
        total_steps: of the whole stage. The warm-up takes at most a third, so that a short one reaches its full rate.
    """
    automatic = min(round(WARMUP_SHARE * total_steps), LONGEST_WARMUP)
    return min(automatic if settings.warmup_steps == "auto" else settings.warmup_steps, total_steps // 3)


def planned_lengths(config: Config, asked: Config, plan: Mapping[str, Length], num_images: int) -> Config:
    """Returns the settings with the stages of a plan, and without the minutes that the plan has used.

    Args:
        config: the settings of the run so far.
        asked: the settings as the user has given them; where the warm-up is "auto", it follows the plan.
        plan: dict of stage name to `Length`; other stages stay as they are.
        num_images: of the training data.
    """
    stages = {name: getattr(asked.train, name).model_copy(update=length._asdict()) for name, length in plan.items()}
    train = config.train.model_copy(update={**stages, "minutes": None})
    return resolve_lengths(config.model_copy(update={"train": train}), num_images)


def resolve_lengths(config: Config, num_images: int) -> Config:
    """Returns the settings with numbers instead of "auto" in the epochs and the warm-up of each stage.

    Args:
        config: the settings of a run.
        num_images: of the training data.
    """
    stages = {}
    for name in STAGES:
        settings, batch_size = getattr(config.train, name), config.data.batch_size
        steps = steps_per_epoch(settings, num_images, batch_size)
        epochs, warmup = settings.epochs, settings.warmup_steps
        if epochs == "auto":
            epochs = max(round(default_passes(num_images) * num_images / batch_size / steps), 1)
        if warmup == "auto":
            warmup = warmup_steps(settings, epochs * steps)
        stages[name] = settings.model_copy(update={"epochs": epochs, "warmup_steps": warmup})
    return config.model_copy(update={"train": config.train.model_copy(update=stages)})
