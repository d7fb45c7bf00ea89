"""What users do with Keras models works on the stages: validation, callbacks, saving, their own optimizer."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_training import changed, endless, make_batch, small_config, small_model, snapshot
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import keras_mrcnn
from keras_mrcnn.config import ModelConfig
from keras_mrcnn.mask_rcnn.model import MaskRCNN

STAGES = {
    "rpn": keras_mrcnn.RPNStage, "box": keras_mrcnn.BoxStage, "mask": keras_mrcnn.MaskStage,
    "joint": keras_mrcnn.JointStage,
}  # fmt: skip


@keras.saving.register_keras_serializable("tests")
class SavableMaskRCNN(MaskRCNN):
    """A `MaskRCNN` that Keras can save whole."""

    def get_config(self):
        return {"config": self.config.model_dump(mode="json"), "name": self.name}

    def get_build_config(self):
        """Returns nothing to build: all weights exist from the start."""

    @classmethod
    def from_config(cls, config):
        return cls(ModelConfig.model_validate(config["config"]), name=config["name"])


def finite(*batches):
    return endless(*batches).take(len(batches))


def compiled(kind, model=None, optimizer=None):
    stage = kind(small_model() if model is None else model)
    # A few steps are faster without a graph.
    stage.compile(optimizer or keras.optimizers.SGD(1e-3, momentum=0.9), run_eagerly=True)
    return stage


@pytest.mark.parametrize("name", STAGES)
def test_validation_losses_are_in_the_history_and_come_from_evaluate(name):
    stage = compiled(STAGES[name], small_model(norm="bn"))
    validation = finite(make_batch(seed=1), make_batch(seed=2))
    history = stage.fit(
        endless(make_batch()), steps_per_epoch=1, epochs=2, validation_data=validation, verbose=0
    ).history
    assert set(history) == {f"{prefix}{loss}" for prefix in ("", "val_") for loss in ("loss", *stage.loss_names)}
    before = snapshot(stage.mask_rcnn)
    scores = stage.evaluate(validation, verbose=0, return_dict=True)
    assert changed(before, snapshot(stage.mask_rcnn)) == set()
    assert {f"val_{loss}": [pytest.approx(value, rel=1e-5)] for loss, value in scores.items()} == {
        loss: values[-1:] for loss, values in history.items() if loss.startswith("val_")
    }
    assert all(np.isfinite(values).all() and len(values) == 2 for values in history.values())


def test_validation_is_the_same_every_time_and_leaves_the_norms_alone():
    """At a learning rate of zero, norms in training mode would still move between the epochs."""
    stage = compiled(STAGES["rpn"], small_model(norm="bn", freeze_stages=5), keras.optimizers.SGD(0.0))
    history = stage.fit(
        endless(make_batch()), steps_per_epoch=1, epochs=3, validation_data=finite(make_batch(seed=1)), verbose=0
    ).history
    assert len(set(history["val_loss"])) == 1


def test_every_image_counts_the_same_in_a_validation_loss():
    """The last batch has one image, the one before it three."""
    stage = compiled(STAGES["box"])
    three, one = make_batch((2, 3, 1), seed=1), make_batch((3,), seed=2)

    def stream():
        yield three
        yield one

    spec = {name: tf.TensorSpec([None, *value.shape[1:]], value.dtype) for name, value in three.items()}
    together = stage.evaluate(tf.data.Dataset.from_generator(stream, output_signature=spec), verbose=0)
    parts = [stage.evaluate(finite(batch), verbose=0) for batch in (three, one)]
    np.testing.assert_allclose(together, (3 * np.array(parts[0]) + np.array(parts[1])) / 4, rtol=1e-5)


def test_early_stopping_ends_the_training_and_restores_the_best_weights():
    stage = compiled(STAGES["mask"], optimizer=keras.optimizers.SGD(0.0))  # so that no epoch is better than the first
    before = snapshot(stage.mask_rcnn)
    stopping = keras.callbacks.EarlyStopping(patience=1, restore_best_weights=True)
    settings = {"steps_per_epoch": 1, "validation_data": finite(make_batch(seed=1)), "verbose": 0}
    history = stage.fit(endless(make_batch()), epochs=9, callbacks=[stopping], **settings)
    assert len(history.epoch) == 2 and changed(before, snapshot(stage.mask_rcnn)) == set()


def test_tensorboard_writes_every_step(tmp_path):
    stage = compiled(STAGES["mask"])
    board = keras.callbacks.TensorBoard(str(tmp_path), update_freq=1)
    stage.fit(
        endless(make_batch()), steps_per_epoch=3, callbacks=[board], verbose=0,
        validation_data=finite(make_batch(seed=1)),
    )  # fmt: skip
    events = EventAccumulator(str(tmp_path / "train"), {"tensors": 0}).Reload()
    assert len(events.Tensors("batch_loss")) == 3 and list((tmp_path / "validation").glob("*tfevents*"))


def test_weights_of_a_checkpoint_callback_come_back(tmp_path):
    stage, path = compiled(STAGES["box"]), tmp_path / "best.weights.h5"
    saving = keras.callbacks.ModelCheckpoint(path, save_weights_only=True, save_best_only=True)
    stage.fit(
        endless(make_batch()), steps_per_epoch=2, callbacks=[saving], verbose=0,
        validation_data=finite(make_batch(seed=1)),
    )  # fmt: skip
    again = compiled(STAGES["box"])
    assert changed(snapshot(stage.mask_rcnn), snapshot(again.mask_rcnn))
    again.load_weights(path)
    assert changed(snapshot(stage.mask_rcnn), snapshot(again.mask_rcnn)) == set()


@pytest.mark.parametrize("name", ["mask", "joint"])
def test_a_whole_stage_is_saved_and_trains_on_as_if_it_had_not_been(tmp_path, name):
    stage = compiled(STAGES[name], SavableMaskRCNN(small_config()), keras.optimizers.AdamW(1e-3))
    path, data = str(tmp_path / "stage.keras"), endless(make_batch())
    stage.fit(data, steps_per_epoch=2, callbacks=[keras.callbacks.ModelCheckpoint(path)], verbose=0)
    again = keras.models.load_model(path)
    assert type(again) is STAGES[name] and type(again.optimizer) is keras.optimizers.AdamW
    for one in (stage, again):
        one.fit(data, steps_per_epoch=1, verbose=0)
    assert changed(snapshot(stage.mask_rcnn), snapshot(again.mask_rcnn)) == set()


def test_a_loss_of_the_user_is_refused():
    with pytest.raises(ValueError, match="MaskStage has losses of its own, mask_loss; leave loss out"):
        keras_mrcnn.MaskStage(small_model()).compile("sgd", loss="mse")
