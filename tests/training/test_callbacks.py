"""Broken numbers end the training before they are saved."""

import keras
import pytest
import tensorflow as tf
from small_training import endless, make_batch, small_model

from keras_mrcnn.training.callbacks import NonFiniteLossError, SaveCheckpoint, StopOnNonFiniteLoss
from keras_mrcnn.training.checkpoint import read_progress
from keras_mrcnn.training.stages import MaskStage


@pytest.fixture
def stage():
    stage = MaskStage(small_model())
    stage.compile(keras.optimizers.SGD(1e-4))
    return stage


def fit(stage, path, epochs=2):
    callbacks = [StopOnNonFiniteLoss("mask"), SaveCheckpoint(path, "mask")]
    stage.fit(endless(make_batch()), steps_per_epoch=2, epochs=epochs, callbacks=callbacks, verbose=0)


def test_checkpoint_is_written_when_an_epoch_ends(stage, tmp_path):
    fit(stage, tmp_path / "checkpoint", epochs=2)
    assert read_progress(tmp_path / "checkpoint") == ("mask", 2)


def test_infinite_weight_stops_at_the_first_step_with_a_sentence(stage, tmp_path):
    bias = stage.mask_rcnn.mask_head.logits.bias
    bias.assign(tf.fill(bias.shape, float("inf")))
    with pytest.raises(NonFiniteLossError) as caught:
        fit(stage, tmp_path / "checkpoint")
    message = str(caught.value)
    assert message.startswith("loss, mask_loss of the mask stage is not finite in epoch 1, step 1; lower train.mask.")
    assert "--resume" in message and "\n" not in message
    assert not (tmp_path / "checkpoint").exists()


def test_weights_broken_by_the_last_step_of_an_epoch_are_not_saved(stage, tmp_path):
    fit(stage, tmp_path / "checkpoint", epochs=1)
    saved = (tmp_path / "checkpoint").read_bytes()

    class BreakWeights(keras.callbacks.Callback):
        """Does what an infinite gradient does: the loss was still a number, the weights are none any more."""

        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                kernel = self.model.mask_rcnn.mask_head.logits.kernel
                kernel.assign(tf.fill(kernel.shape, float("nan")))

    callbacks = [BreakWeights(), StopOnNonFiniteLoss("mask"), SaveCheckpoint(tmp_path / "checkpoint", "mask")]
    with pytest.raises(NonFiniteLossError, match="a weight of the mask stage is not finite in epoch 1, after its last"):
        stage.fit(endless(make_batch()), steps_per_epoch=2, epochs=2, callbacks=callbacks, verbose=0)
    assert (tmp_path / "checkpoint").read_bytes() == saved


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_only_what_is_not_finite_is_named(value):
    callback = StopOnNonFiniteLoss("box")
    callback.on_epoch_begin(3)
    callback.on_train_batch_end(0, {"loss": 1.0, "box_loss": 2.0})
    callback.on_train_batch_end(0, None)
    with pytest.raises(NonFiniteLossError, match="^box_loss of the box stage is not finite in epoch 4, step 7;"):
        callback.on_train_batch_end(6, {"loss": 1.0, "box_loss": value})
