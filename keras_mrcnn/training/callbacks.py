"""Keras callbacks of the trainer."""

import math

import keras

from keras_mrcnn.training.checkpoint import save_checkpoint


class NonFiniteLossError(ArithmeticError):
    """A loss became NaN or infinite; the message says where and what to try."""


class StopOnNonFiniteLoss(keras.callbacks.Callback):
    """Ends the training at the first loss that is not a number, before it is saved as a checkpoint.

    Args:
        stage: name for the message.

    Raises:
        NonFiniteLossError: from `fit`.
    """

    def __init__(self, stage):
        super().__init__()
        self.stage = stage
        self.epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        broken = [name for name, value in (logs or {}).items() if not math.isfinite(value)]
        if broken:
            raise NonFiniteLossError(
                f"{', '.join(broken)} of the {self.stage} stage is not finite in epoch {self.epoch + 1}, step "
                f"{batch + 1}; lower train.{self.stage}.learning_rate, raise train.{self.stage}.warmup_steps or set "
                f"train.{self.stage}.clip_norm, then go on from the last checkpoint with --resume"
            )


class SaveCheckpoint(keras.callbacks.Callback):
    """Writes a checkpoint when an epoch ends.

    Args:
        path: of the checkpoint file, replaced every time.
        stage: name of the stage.
    """

    def __init__(self, path, stage):
        super().__init__()
        self.path, self.stage = path, stage

    def on_epoch_end(self, epoch, logs=None):
        save_checkpoint(self.path, self.model, self.stage, epoch + 1)
