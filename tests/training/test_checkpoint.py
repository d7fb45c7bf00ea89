"""A checkpoint gives back all of a stage, to the bit, or says what is wrong with it."""

import os

import keras
import numpy as np
import pytest
from small_training import changed, endless, make_batch, small_model, snapshot

from keras_mrcnn.config import StageConfig
from keras_mrcnn.training.checkpoint import (
    Progress,
    read_progress,
    restore_model,
    restore_optimizer,
    save_checkpoint,
)
from keras_mrcnn.training.optimizers import make_optimizer
from keras_mrcnn.training.stages import BoxStage, MaskStage
from keras_mrcnn.weights import WeightsError


def trained_stage(optimizer, steps=2):
    stage = BoxStage(small_model())
    stage.compile(optimizer)
    if steps:
        stage.fit(endless(make_batch()), steps_per_epoch=steps, verbose=0)
    return stage


@pytest.fixture(scope="module")
def stage():
    return trained_stage(keras.optimizers.SGD(1e-3, momentum=0.9))


@pytest.fixture(scope="module")
def checkpoint(stage, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "checkpoint.safetensors"
    save_checkpoint(path, stage, "box", 3)
    return path


def optimizer_state(stage):
    return {str(index): np.asarray(variable.numpy()) for index, variable in enumerate(stage.optimizer.variables)}


def test_progress(checkpoint):
    assert read_progress(checkpoint) == Progress("box", 3)


def test_model_and_optimizer_come_back(stage, checkpoint):
    again = trained_stage(keras.optimizers.SGD(1e-3, momentum=0.9), steps=0)
    assert changed(snapshot(stage.mask_rcnn), snapshot(again.mask_rcnn))
    restore_model(checkpoint, again.mask_rcnn)
    restore_optimizer(checkpoint, again)
    assert changed(snapshot(stage.mask_rcnn), snapshot(again.mask_rcnn)) == set()
    state = optimizer_state(again)
    assert int(again.optimizer.iterations.numpy()) == 2
    assert any(value.ndim > 1 and np.any(value) for value in state.values())  # momentum
    assert changed(optimizer_state(stage), state) == set()


def test_another_optimizer_is_refused(checkpoint):
    other = trained_stage(keras.optimizers.AdamW(1e-3), steps=0)
    before = optimizer_state(other)
    with pytest.raises(WeightsError, match="was written with another optimizer; resume with the settings of the run"):
        restore_optimizer(checkpoint, other)
    assert changed(before, optimizer_state(other)) == set()


def test_optimizer_of_another_stage_is_refused(stage, checkpoint):
    other = MaskStage(small_model())
    other.compile(keras.optimizers.SGD(1e-3, momentum=0.9))
    with pytest.raises(WeightsError, match="another optimizer"):
        restore_optimizer(checkpoint, other)


def test_another_model_is_refused_and_stays_as_it_was(checkpoint):
    model = small_model(class_names=("one", "two"))
    before = snapshot(model)
    with pytest.raises(WeightsError, match="box_predictor.cls_score.weight has shape"):
        restore_model(checkpoint, model)
    assert changed(before, snapshot(model)) == set()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_torn_checkpoint_is_refused(checkpoint, tmp_path, share):
    whole = checkpoint.read_bytes()
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(WeightsError, match="torn.safetensors: not a whole safetensors file"):
        read_progress(torn)


def test_missing_checkpoint_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        read_progress(tmp_path / "checkpoint.safetensors")


def test_weight_file_is_no_checkpoint(stage, tmp_path):
    stage.mask_rcnn.save_pretrained(tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="is not a checkpoint"):
        read_progress(tmp_path / "model.safetensors")


def test_a_failed_write_leaves_the_checkpoint_before_it(stage, tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, stage, "box", 1)

    def fail(descriptor):
        os.ftruncate(descriptor, 10)
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, stage, "box", 2)
    assert read_progress(path) == Progress("box", 1)


def test_what_a_killed_write_has_left_is_no_obstacle(stage, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    (tmp_path / ".checkpoint.safetensors.tmp").write_bytes(b"half of a longer file" * 200000)
    save_checkpoint(path, stage, "box", 1)
    assert read_progress(path) == Progress("box", 1)
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.safetensors"]


def test_content_is_on_the_disk_before_it_takes_the_name(stage, tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: done.append("fsync") or fsync(file))
    monkeypatch.setattr(os, "replace", lambda *names: done.append("replace") or replace(*names))
    save_checkpoint(tmp_path / "checkpoint.safetensors", stage, "box", 1)
    assert done == ["fsync", "replace"]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_restored_stage_goes_on_as_if_it_had_never_stopped(tmp_path, optimizer):
    """In the middle of the warm-up, with moments that every step has moved."""
    settings = StageConfig(optimizer=optimizer, learning_rate=1e-3, warmup_steps=3, schedule="cosine", clip_norm=1.0)
    path, data = tmp_path / "checkpoint.safetensors", endless(make_batch())
    first = trained_stage(make_optimizer(settings, 12))
    save_checkpoint(path, first, "box", 1)
    first.fit(data, steps_per_epoch=2, verbose=0)
    second = trained_stage(make_optimizer(settings, 12), steps=0)
    restore_model(path, second.mask_rcnn)
    restore_optimizer(path, second)
    second.fit(data, steps_per_epoch=2, verbose=0)
    assert changed(snapshot(first.mask_rcnn), snapshot(second.mask_rcnn)) == set()
    assert changed(optimizer_state(first), optimizer_state(second)) == set()
    assert int(second.optimizer.iterations.numpy()) == 4
