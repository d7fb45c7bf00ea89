"""Keeps the weights of a stage's best epoch, and ends a stage that no longer improves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_mrcnn.base.stage_names import SCORE_OF_STAGE
from keras_mrcnn.config import Config
from keras_mrcnn.data.prepared import PreparedDataset
from keras_mrcnn.evaluation.evaluator import evaluate_model
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.training.distribution import Workers
from keras_mrcnn.training.stage import Stage


@dataclass(frozen=True)
class EpochScore:
    """Scores a model in training by the score that belongs to its stage; all workers must call it.

    Args:
        stage: name of the stage.
        model: the `MaskRCNN`.
        data: `PreparedDataset` to validate on.
        config: `Config`, which says how many images are scored, and in which batches.
        workers: `Workers` that train together.
    """

    stage: str
    model: MaskRCNN
    data: PreparedDataset
    config: Config
    workers: Workers

    def __call__(self) -> float | None:
        """Returns the score, or None if there are no objects."""
        part, score = SCORE_OF_STAGE[self.stage]
        batch_size, images = self.config.data.eval_batch_size, self.config.train.validation_images
        scores, _ = evaluate_model(
            self.model, self.data, (part,), batch_size=batch_size, images=images, progress=False, workers=self.workers
        )
        return scores[part][score]


class BestWeights(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the lowest `val_loss` or the highest score; among equal epochs, the first.

    If the stage has a `WeightAverage`, the weights are those of the average, which validation and scores use too.

    Args:
        stage: a compiled `Stage`.
        workers: `Workers` that train together; all use the `val_loss` of the first, so that they agree.
        patience: the stage ends when so many epochs have passed since the best one; by default it never does.
        score: function that returns a score of the model as it is, or None if there is nothing to score. All workers
            call it. Its results are added to the logs as `val_score`. Without it, `val_loss` counts.
        score_every: epochs from one score to the next. The last epoch of a stage is always scored.

    Attributes:
        epoch: number of the best epoch, from 1; 0 before there is one.
        value: validation loss or score of the best epoch.
        values: the stage's `trained_weights` after the best epoch, a list of arrays.
    """

    def __init__(
        self,
        stage: Stage,
        workers: Workers,
        patience: int | None = None,
        score: Callable[[], float | None] | None = None,
        score_every: int = 1,
    ):
        super().__init__()
        self.stage, self.workers, self.patience = stage, workers, patience
        self.score, self.score_every = score, score_every
        self.epoch, self.values = 0, []
        self.value = math.inf if score is None else -math.inf

    @property
    def name(self) -> str:
        """Returns the name of what is compared: "val_loss" or "val_score"."""
        return "val_loss" if self.score is None else "val_score"

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keeps the weights if the epoch is the best so far, and stops `fit` if the best is too long ago."""
        number, logs = epoch + 1, {} if logs is None else logs
        if self.score is not None and (number % self.score_every == 0 or number == self.params["epochs"]):
            logs["val_score"] = self._measure()
        value = float(self.workers.exchange(logs.get(self.name, math.nan))[0])
        if value < self.value if self.score is None else value > self.value:
            average = self.stage.weight_average
            weights = self.stage.trained_weights() if average is None else average.averages
            self.epoch, self.value = number, value
            self.values = [np.array(weight.numpy(), order="C") for weight in weights]
        if self.is_exhausted(number):
            self.stage.stop_training = True

    def is_exhausted(self, epochs: int) -> bool:
        """Returns whether the best of so many epochs is `patience` epochs ago."""
        # From the numbers of the epochs alone, so that a checkpoint needs nothing more for it.
        is_measured = self.score is None or epochs % self.score_every == 0
        return self.patience is not None and is_measured and epochs - self.epoch >= self.patience

    def assign(self) -> bool:
        """Gives the model the weights of the best epoch, and returns whether there is one."""
        for weight, value in zip(self.stage.trained_weights(), self.values):
            weight.assign(value)
        return self.epoch > 0

    def _measure(self):
        average = self.stage.weight_average
        if average is not None:
            average.on_test_begin()
        score = self.score()
        if average is not None:
            average.on_test_end()
        return math.nan if score is None else score
