"""The Keras callbacks of the trainer."""

from __future__ import annotations

import math
import os
from typing import Any

import keras
import tensorflow as tf

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.training.checkpoint import save_checkpoint
from keras_mrcnn.training.loss_scaling import loss_scale


class NonFiniteLossError(UserError):
    """A loss or a weight became NaN or infinite; the message says where and what to try."""


class StopOnNonFiniteLoss(keras.callbacks.Callback):
    """Ends the training at the first loss or weight that is not finite, before a checkpoint saves it.

    Gradients that are not finite do not end it: loss scaling skips their steps and searches for a scale at which they
    are rare. The training ends only if there is no such scale.

    Args:
        stage: name of the stage, for the message.

    Raises:
        NonFiniteLossError: from `fit`.
    """

    def __init__(self, stage: str):
        super().__init__()
        self.stage = stage
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keeps the number of the epoch for the message."""
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stops at a loss that is not finite."""
        broken = [name for name, value in (logs or {}).items() if not math.isfinite(value)]
        if broken:
            self._stop(", ".join(broken), f"epoch {self.epoch + 1}, step {batch + 1}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Stops at a weight that is not finite, or at gradients that overflow at every scale."""
        # The loss of the last step is from before its update, and the checkpoint comes next.
        finite = [tf.reduce_all(tf.math.is_finite(tf.convert_to_tensor(w))) for w in self.model.mask_rcnn.weights]
        if not all(finite):
            self._stop("a weight", f"epoch {epoch + 1}, after its last step")
        scale = loss_scale(self.model.optimizer)
        if scale is not None and float(scale.numpy()) <= 1.0:
            raise NonFiniteLossError(
                f"gradients of the {self.stage} stage overflow float16 in epoch {epoch + 1}, however small the loss is "
                "scaled; set train.precision to mixed_bfloat16 or float32"
            )

    def _stop(self, what, where):
        raise NonFiniteLossError(
            f"{what} of the {self.stage} stage is not finite in {where}; lower train.{self.stage}.learning_rate, "
            f"raise train.{self.stage}.warmup_steps or set train.{self.stage}.clip_norm, then go on from the last "
            "checkpoint with --resume"
        )


class SaveCheckpoint(keras.callbacks.Callback):
    """Writes a checkpoint at the end of each epoch.

    Args:
        path: checkpoint file, replaced every time.
        stage: name of the stage.
    """

    def __init__(self, path: str | os.PathLike, stage: str):
        super().__init__()
        self.path, self.stage = path, stage

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the checkpoint."""
        save_checkpoint(self.path, self.model, self.stage, epoch + 1)
