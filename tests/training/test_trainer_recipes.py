"""Recipes through the whole run: a fourth stage, averaged weights, loss scaling, optimizers that cannot be had."""

import numpy as np
import pytest
from small_training import changed, small_run, snapshot, with_training

from keras_mrcnn.evaluation.tables import read_json
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.training import trainer as trainer_module
from keras_mrcnn.training.callbacks import SaveCheckpoint
from keras_mrcnn.training.trainer import StagedTrainer

NOTHING = {"epochs": 0}


@pytest.fixture(scope="module")
def joint_run(scenes, tmp_path_factory):
    """A run that ends with an averaged joint stage; the others do nothing."""
    config = small_run(scenes, validate=False, rpn=NOTHING, box=NOTHING, mask=NOTHING, joint={"average": 0.9})
    trainer = StagedTrainer(config, tmp_path_factory.mktemp("joint") / "run", verbose=0)
    return config, trainer, snapshot(trainer.fit())


def test_joint_stage_trains_all_parts_and_writes_the_model(joint_run):
    _, trainer, weights = joint_run
    folder = trainer.run_folder
    before, after = (snapshot(MaskRCNN.from_preset(folder / f"{name}.safetensors")) for name in ("mask", "model"))
    assert changed(after, weights) == set()
    parts = {name.split(".")[0] + name.split(".")[1][:3] for name in changed(before, after)}
    assert {"backbonefpn", "rpnhea", "roi_headsbox", "roi_headsmas"} <= parts
    assert set(read_json(folder / "metrics.json")["training"]) == {"rpn", "box", "mask", "joint"}


@pytest.mark.parametrize(("joint", "count"), [({"epochs": 1}, 1), (NOTHING, 3)])
def test_parts_without_epochs_are_scored_unless_the_joint_stage_follows(scenes, tmp_path, monkeypatch, joint, count):
    scored = []
    monkeypatch.setattr(trainer_module, "evaluate_model", lambda *inputs, **_: (scored.append(inputs) or {}, None))
    config = small_run(scenes, rpn=NOTHING, box=NOTHING, mask=NOTHING, joint=joint)
    StagedTrainer(config, tmp_path, verbose=0).fit()
    assert len(scored) == count


def interrupted(monkeypatch, config, folder, stage, save):
    """A run that is cut off at the end of the first epoch of a stage, after its checkpoint is written or before."""

    class CutOff(SaveCheckpoint):
        def on_epoch_end(self, number, logs=None):
            if save or self.stage != stage:
                super().on_epoch_end(number, logs)
            if self.stage == stage:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer_module, "SaveCheckpoint", CutOff)
        with pytest.raises(KeyboardInterrupt):
            StagedTrainer(config, folder, verbose=0).fit()


@pytest.mark.parametrize(("stage", "save"), [("box", True), pytest.param("mask", False, marks=pytest.mark.long)])
def test_average_survives_an_interruption(scenes, tmp_path, monkeypatch, stage, save):
    """In its own stage, and in the next one before that has a checkpoint."""
    config = small_run(scenes, validate=False, rpn=NOTHING, box={"average": 0.9})
    whole = snapshot(StagedTrainer(config, tmp_path / "whole", verbose=0).fit())
    interrupted(monkeypatch, config, tmp_path / "cut", stage, save)
    assert changed(whole, snapshot(StagedTrainer(config, tmp_path / "cut", resume=True, verbose=0).fit())) == set()


def test_average_differs_from_the_last_weights(scenes, joint_run, tmp_path):
    config = small_run(scenes, validate=False, rpn=NOTHING, box=NOTHING, mask=NOTHING, joint={"average": None})
    plain = snapshot(StagedTrainer(config, tmp_path, verbose=0).fit())
    names = changed(plain, joint_run[2])
    assert names and all(np.abs(plain[name] - joint_run[2][name]).max() < 0.1 for name in names)


@pytest.mark.parametrize("precision", [pytest.param("mixed_float16", marks=pytest.mark.long), "mixed_bfloat16"])
def test_every_stage_trains_in_half_precision(scenes, tmp_path, precision):
    config = with_training(small_run(scenes, validate=False), precision=precision)
    trainer = StagedTrainer(config, tmp_path, verbose=0)
    before = snapshot(trainer.model)
    after = snapshot(trainer.fit())
    names = changed(before, after)
    assert all(np.isfinite(value).all() and value.dtype == np.float32 for value in after.values())
    for part in ("rpn.head.conv.0.0.weight", "roi_heads.box_head.fc7.weight", "roi_heads.mask_head.0.0.weight"):
        assert part in names
