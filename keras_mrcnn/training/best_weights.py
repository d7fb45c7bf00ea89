"""The weights of a stage's best epoch."""

from __future__ import annotations

import math

import keras
import numpy as np

from keras_mrcnn.training.distribution import Workers
from keras_mrcnn.training.stage import Stage


class BestWeights(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the lowest `val_loss`; of equal epochs, the first.

    Where the stage has a `WeightAverage`, the weights are those of the average, which validation takes too.

    Args:
        stage: a compiled `Stage`.
        workers: `Workers` that train together; all follow the `val_loss` of the first, so that they agree.

    Attributes:
        epoch: number of the best epoch, from 1; 0 before there is one.
        val_loss: its validation loss.
        values: what the stage's `trained_weights` were then, a list of arrays.
    """

    def __init__(self, stage: Stage, workers: Workers):
        super().__init__()
        self.stage, self.workers = stage, workers
        self.epoch, self.val_loss, self.values = 0, math.inf, []

    def on_epoch_end(self, epoch, logs=None):
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
