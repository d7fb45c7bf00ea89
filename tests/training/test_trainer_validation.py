"""Validation within the stages of a run: which epoch a stage ends with, users' callbacks, one score for one model."""

import json

import keras
import numpy as np
import pytest
from command_line import run
from small_training import changed, small_run, snapshot, with_training

from keras_mrcnn import report as report_module
from keras_mrcnn.base.errors import UserError
from keras_mrcnn.evaluation.tables import read_json, write_json
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.training import trainer as trainer_module
from keras_mrcnn.training.callbacks import SaveCheckpoint
from keras_mrcnn.training.trainer import StagedTrainer

NOTHING = {"epochs": 0}
# Steps so long that it becomes worse: the best epoch is not the last.
BOX = {"epochs": 4, "steps_per_epoch": 2, "learning_rate": 4.0, "warmup_steps": 0, "milestones": ()}


def only_box(scenes, **settings):
    return small_run(scenes, rpn=NOTHING, box={**BOX, **settings}, mask=NOTHING, validation_images=100)


class Snapshots(keras.callbacks.Callback):
    """Keeps what the model is after each epoch."""

    def __init__(self):
        super().__init__()
        self.epochs = []

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(snapshot(self.model.mask_rcnn))


@pytest.fixture(scope="module")
def box_run(scenes, tmp_path_factory):
    """Config, trainer, its final weights, and those after each epoch."""
    config, snapshots = only_box(scenes), Snapshots()
    trainer = StagedTrainer(config, tmp_path_factory.mktemp("best"), verbose=0, callbacks={"box": [snapshots]})
    return config, trainer, snapshot(trainer.fit()), snapshots.epochs


def test_a_stage_ends_with_its_best_epoch_which_is_named(box_run):
    _, trainer, weights, epochs = box_run
    losses = trainer.history["box"]["val_loss"]
    best = int(np.argmin(losses))
    assert len(losses) == 4 and best < 3  # else this would prove nothing
    assert changed(weights, epochs[best]) == set() and changed(weights, epochs[-1])
    assert changed(weights, snapshot(MaskRCNN.from_preset(trainer.run_folder / "box.safetensors"))) == set()
    record = read_json(trainer.run_folder / "metrics.json")["training"]["box"]
    assert (record["epochs"], record["best_epoch"]) == (4, best + 1)
    assert record["val_loss"] == pytest.approx(losses[best], rel=1e-6) and "stopped_early" not in record
    assert list((trainer.run_folder / "logs" / "box" / "validation").glob("*tfevents*"))


def test_a_resumed_run_knows_the_best_epoch_of_before(box_run, scenes, tmp_path, monkeypatch):
    config, _, weights, _ = box_run

    class CutOff(SaveCheckpoint):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            if epoch == 2:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer_module, "SaveCheckpoint", CutOff)
        with pytest.raises(KeyboardInterrupt):
            StagedTrainer(config, tmp_path, verbose=0).fit()
    resumed = StagedTrainer(config, tmp_path, resume=True, verbose=0)
    assert changed(weights, snapshot(resumed.fit())) == set()
    assert read_json(tmp_path / "metrics.json")["training"]["box"]["epochs"] == 4


def test_a_stage_that_a_callback_stops_stays_so_and_can_end_with_its_last_epoch(scenes, tmp_path):
    config = with_training(only_box(scenes, learning_rate=1e-9), best_by="last")
    stopping = keras.callbacks.EarlyStopping(patience=1, min_delta=1.0)
    trainer = StagedTrainer(config, tmp_path, verbose=0, callbacks=[stopping])
    trainer.fit()
    record = read_json(tmp_path / "metrics.json")["training"]["box"]
    assert len(trainer.history["box"]["val_loss"]) == record["epochs"] == record["best_epoch"] == 2
    assert record["stopped_early"] and "val_loss" not in record
    resumed = StagedTrainer(config, tmp_path, resume=True, verbose=0)
    resumed.fit()
    assert resumed.history == {}


def test_a_stage_that_patience_ends_stays_so_after_a_cut(scenes, tmp_path, monkeypatch):
    """The process ends right after the last checkpoint: nothing but its numbers says that the stage has ended."""
    config, snapshots = only_box(scenes, epochs=9, patience=1), Snapshots()

    class CutOff(SaveCheckpoint):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            snapshots.on_epoch_end(epoch)
            if self.model.stop_training:
                raise KeyboardInterrupt

        def set_model(self, model):
            super().set_model(model)
            snapshots.set_model(model)

    with monkeypatch.context() as patch:
        patch.setattr(trainer_module, "SaveCheckpoint", CutOff)
        with pytest.raises(KeyboardInterrupt):
            StagedTrainer(config, tmp_path, verbose=0).fit()
    resumed = StagedTrainer(config, tmp_path, resume=True, verbose=0)
    weights = snapshot(resumed.fit())
    record = read_json(tmp_path / "metrics.json")["training"]["box"]
    assert resumed.history == {} and record["stopped_early"]
    assert len(snapshots.epochs) == record["epochs"] == record["best_epoch"] + 1 < 9
    assert changed(weights, snapshots.epochs[record["best_epoch"] - 1]) == set()


def test_a_stage_ends_with_the_epoch_of_the_best_score(scenes, tmp_path):
    rpn = {"epochs": 3, "steps_per_epoch": 1}
    config = small_run(scenes, rpn=rpn, box=NOTHING, mask=NOTHING, validation_images=100)
    trainer = StagedTrainer(with_training(config, best_by="score", score_every=2), tmp_path, verbose=0)
    trainer.fit()
    metrics = read_json(tmp_path / "metrics.json")
    # The second epoch and the last, on as many images as the stage in the end.
    assert len(trainer.history["rpn"]["val_score"]) == 2 and len(trainer.history["rpn"]["val_loss"]) == 3
    record = metrics["training"]["rpn"]
    assert record["val_score"] == metrics["rpn"]["AR1000"] == max(trainer.history["rpn"]["val_score"])
    assert record["best_epoch"] in (2, 3) and "val_loss" not in record


@pytest.mark.parametrize("settings", [{"validate": False}, {"validation_images": 0}, {"best_by": "last"}])
def test_patience_without_anything_to_compare_is_refused(scenes, tmp_path, settings):
    best_by = settings.pop("best_by", "val_loss")
    config = small_run(scenes, box={"patience": 2}, **{"validation_images": 2, **settings})
    with pytest.raises(UserError, match="train.box.patience: needs data.val_annotations, "):
        StagedTrainer(with_training(config, best_by=best_by), tmp_path / "run", verbose=0)
    assert not (tmp_path / "run").exists()


def test_callbacks_of_an_unknown_stage_are_refused(scenes, tmp_path):
    with pytest.raises(ValueError, match="there is no stage 'head'; stages are rpn, box, mask, joint"):
        StagedTrainer(small_run(scenes), tmp_path, callbacks={"head": []})


def asked_scores(folder, monkeypatch):
    """The scores of a run by `keras-mrcnn evaluate` and by `keras-mrcnn report`, and the detections."""
    result = run("evaluate", folder, "--json", folder / "scores.json", "--results", folder / "results.json")
    assert result.exit_code == 0, result.output
    reported = []
    with monkeypatch.context() as patch:
        patch.setattr(
            report_module, "write_report",
            lambda found, path, evaluation, **settings: reported.append(evaluation.scores) or path,
        )  # fmt: skip
        result = run("report", folder, "--images", 0)
    assert result.exit_code == 0, result.output
    results = json.loads((folder / "results.json").read_text())
    write_json(folder / "reported.json", reported[0])  # null for NaN, as in the others
    return read_json(folder / "scores.json"), read_json(folder / "reported.json"), results


class Count(keras.callbacks.Callback):
    """Counts stages and steps."""

    stages, steps = 0, 0

    def on_train_begin(self, logs=None):
        self.stages += 1

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1


def test_the_scores_of_a_model_do_not_depend_on_who_asks(scenes, tmp_path, monkeypatch):
    """Trained in bfloat16, scored as it is loaded from its file; a list of callbacks serves every stage."""
    stage = {"epochs": 1, "steps_per_epoch": 6, "optimizer": "adamw", "learning_rate": 8e-3}
    # A threshold low enough for a model that has learned little to find something.
    box_head = {"channels": 32, "samples": 16, "score_threshold": 0.01}
    config = small_run(scenes, rpn=stage, box=stage, mask=stage, norm="bn", box_head=box_head)
    config = with_training(config, precision="mixed_bfloat16", validation_images=0)
    count = Count()
    trainer = StagedTrainer(config, tmp_path / "run", verbose=0, callbacks=[count])
    trainer.fit()
    assert (count.stages, count.steps) == (3, 18) and "val_loss" not in trainer.history["mask"]
    ended = read_json(tmp_path / "run" / "metrics.json")
    evaluated, reported, results = asked_scores(tmp_path / "run", monkeypatch)
    assert results and 0 < ended["rpn"]["accuracy"] < 1
    assert {name: ended[name] for name in ("rpn", "box", "mask")} == evaluated == reported
