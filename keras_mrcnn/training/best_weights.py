"""Keeps the weights of a stage's best epoch."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from keras_mrcnn.training.distribution import Workers
from keras_mrcnn.training.stage import Stage


class BestWeights(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the lowest `val_loss`; among equal epochs, the first.

    If the stage has a `WeightAverage`, the weights are those of the average, which validation uses too.

    Args:
        stage: a compiled `Stage`.
        workers: `Workers` that train together; all use the `val_loss` of the first, so that they agree.

    Attributes:
        epoch: number of the best epoch, from 1; 0 before there is one.
        val_loss: validation loss of the best epoch.
        values: the stage's `trained_weights` after the best epoch, a list of arrays.
    """

    def __init__(self, stage: Stage, workers: Workers):
        super().__init__()
        self.stage, self.workers = stage, workers
        self.epoch, self.val_loss, self.values = 0, math.inf, []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keeps the weights if the epoch is the best so far."""
        val_loss = float(self.workers.exchange((logs or {}).get("val_loss", math.nan))[0])
        if val_loss < self.val_loss:
            average = self.stage.weight_average
            weights = self.stage.trained_weights() if average is None else average.averages
            self.epoch, self.val_loss = epoch + 1, val_loss
            self.values = [np.array(weight.numpy(), order="C") for weight in weights]

    def assign(self) -> bool:
        """Gives the model the weights of the best epoch, and returns whether there is one."""
        for weight, value in zip(self.stage.trained_weights(), self.values):
            weight.assign(value)
        return self.epoch > 0
