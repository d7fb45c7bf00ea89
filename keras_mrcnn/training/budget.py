"""Divides the time that a run may take among its stages."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.training.batches import CACHED_STAGES
from keras_mrcnn.training.stage_lengths import Length

RESERVE = 0.05  # share of the time that is not planned, because no two steps take the same time
MOST_VALIDATION = 0.1  # share of an epoch: after very short ones, validation would take most of the time
BISECTIONS = 50


@dataclass(frozen=True)
class StageCosts:
    """What the parts of a stage take, in seconds.

    Args:
        fixed: all that happens once, such as tracing the step and scoring the stage.
        step: a step.
        epoch: the end of an epoch: validation and checkpoint.
    """

    fixed: float
    step: float = 0.0
    epoch: float = 0.0

    def length(self, steps: float, steps_per_epoch: int) -> Length:
        """Returns a length of about `steps` steps, in epochs of at most `steps_per_epoch` unless they are too short."""
        shortest = self.epoch * (1 / MOST_VALIDATION - 1) / max(self.step, 1e-9)
        epochs = max(math.ceil(steps / max(steps_per_epoch, shortest)), 1)
        return Length(epochs, max(round(steps / epochs), 1))

    def seconds(self, length: Length) -> float:
        """Returns the seconds of a stage, without those of the feature cache."""
        return self.fixed + length.steps * self.step + length.epochs * self.epoch


@dataclass(frozen=True)
class CacheCosts:
    """What the feature cache of the box and mask stages takes.

    Args:
        image: seconds of computing the features of an image.
        most: the largest number of images that the cache holds.
        room: number of images for which the disk has room; if more are needed, each step computes its features.
    """

    image: float = 0.0
    most: int = 0
    room: int = 0

    def seconds(self, stage: str, plan: Mapping[str, Length], batch_size: int) -> float:
        """Returns the seconds that one stage of a plan spends on frozen features."""
        steps = {name: plan[name].steps for name in CACHED_STAGES if name in plan}
        images = min(batch_size * max(steps.values(), default=0), self.most)
        if images > self.room:
            images = batch_size * steps.get(stage, 0)
        elif stage != next(iter(steps), None):
            images = 0  # the first of the stages fills the cache for both
        return images * self.image


@dataclass
class Budget:
    """Plans stages so that a run ends within its time.

    One factor makes all stages longer or shorter, so that they share the steps as the settings do. The trainer plans
    again before each stage, with the time that is left then.

    Args:
        end: the time on `clock` at which the run must have ended.
        costs: dict of stage name to `StageCosts`, in the order of training.
        asked: dict of stage name to the `Length` that the settings ask for.
        batch_size: images in a step.
        cache: `CacheCosts`.
        clock: function that returns the time, in seconds.
    """

    end: float
    costs: Mapping[str, StageCosts]
    asked: Mapping[str, Length]
    batch_size: int
    cache: CacheCosts
    clock: Callable[[], float]
    planned: float = field(default=0.0, init=False)  # seconds of the stages that have ended, by their plans
    taken: float = field(default=0.0, init=False)  # seconds that they have taken

    def plan(self, first: str) -> dict[str, Length]:
        """Returns the lengths of the stages from `first` on that have steps, for the time that is left.

        If it does not suffice, each has a single step.
        """
        left = (self.end - self.clock()) * (1 - RESERVE)
        seconds = sum(self.costs[name].step * self.asked[name].steps for name in self._from(first))
        low, high = 0.0, max(left, 0.0) / max(seconds, 1e-9)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            if self.seconds(first, self._lengths(first, middle)) <= left:
                low = middle
            else:
                high = middle
        return self._lengths(first, low)

    def seconds(self, first: str, plan: Mapping[str, Length]) -> float:
        """Returns what the stages from `first` on take with the lengths of a plan."""
        # What has taken less time than planned promises nothing for the stages to come.
        slowness = max(self.taken / self.planned, 1.0) if self.planned else 1.0
        return slowness * sum(self._seconds_of(name, plan) for name in self._from(first))

    def check(self) -> None:
        """Raises `UserError` if the time does not suffice for a single step of each stage."""
        first = next(iter(self.costs))
        missing = self.seconds(first, self._lengths(first, 0.0)) - (self.end - self.clock()) * (1 - RESERVE)
        if missing > 0:
            raise UserError(
                f"train.minutes: starting and scoring the stages alone takes {missing / 60:.1f} minutes more than "
                "that; allow more time, score on fewer images, or leave out a stage"
            )

    def stage_ended(self, name: str, plan: Mapping[str, Length], seconds: float) -> None:
        """Lets the plans to come expect the pace of the stages so far, if that was slower than planned.

        Args:
            name: of the stage.
            plan: the plan that it followed.
            seconds: what it has taken.
        """
        self.planned += self._seconds_of(name, plan)
        self.taken += seconds

    def _seconds_of(self, name, plan):
        cache = self.cache.seconds(name, plan, self.batch_size)
        return self.costs[name].seconds(plan.get(name, Length(0, 0))) + cache

    def _lengths(self, first, factor):
        asked = {name: self.asked[name] for name in self._from(first)}
        return {
            name: self.costs[name].length(factor * length.steps, length.steps_per_epoch)
            for name, length in asked.items()
            if length.steps
        }

    def _from(self, first):
        names = list(self.costs)
        return names[names.index(first) :]
