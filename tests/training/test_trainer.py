"""The whole run: three stages one after the other, resumed to the bit, refused with a sentence."""

import json
import shutil
import types

import numpy as np
import pytest
import tensorflow as tf
from pycocotools import mask as mask_api
from small_training import CLASS_NAMES, changed, greatest_difference, small_model, small_run, snapshot
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from keras_mrcnn.config import load_config
from keras_mrcnn.data.check import DataError
from keras_mrcnn.evaluation.evaluator import evaluate_model
from keras_mrcnn.evaluation.tables import read_json
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.scenes.generator import generate_scenes
from keras_mrcnn.training import trainer as trainer_module
from keras_mrcnn.training.callbacks import NonFiniteLossError, SaveCheckpoint
from keras_mrcnn.training.checkpoint import read_progress
from keras_mrcnn.training.trainer import StagedTrainer
from keras_mrcnn.weights import WeightsError


class Interrupted(Exception):
    """Stands for a power cut."""


@pytest.fixture(scope="module")
def finished(scenes, tmp_path_factory):
    """A run from beginning to end: config, trainer, final weights."""
    config = small_run(scenes)
    trainer = StagedTrainer(config, tmp_path_factory.mktemp("runs") / "finished", verbose=0)
    return config, trainer, snapshot(trainer.fit())


def train_until(monkeypatch, config, folder, stage, epoch):
    """A run that is cut off when that epoch of that stage has been saved."""

    class CutOff(SaveCheckpoint):
        def on_epoch_end(self, number, logs=None):
            super().on_epoch_end(number, logs)
            if (self.stage, number + 1) == (stage, epoch):
                raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(trainer_module, "SaveCheckpoint", CutOff)
        with pytest.raises(Interrupted):
            StagedTrainer(config, folder, verbose=0).fit()


def test_run_folder_holds_all_that_is_promised(finished):
    _, trainer, weights = finished
    folder = trainer.run_folder
    files = {path.name for path in folder.iterdir()}
    assert files == {
        "config.yaml", "checkpoint.safetensors", "rpn.safetensors", "box.safetensors", "model.safetensors",
        "metrics.json", "logs",
    }  # fmt: skip
    assert changed(weights, snapshot(MaskRCNN.from_preset(folder / "model.safetensors"))) == set()
    assert all(list((folder / "logs" / stage).rglob("events.*")) for stage in ("rpn", "box", "mask"))
    assert read_progress(folder / "checkpoint.safetensors") == ("mask", 2)


def test_resolved_config_is_written_with_the_classes(finished):
    config, trainer, _ = finished
    saved = load_config(trainer.run_folder / "config.yaml")
    assert saved == trainer.config
    assert saved.model.class_names == CLASS_NAMES and saved.model.category_ids == (1, 2, 3)
    assert config.model.class_names == ()


def test_each_stage_leaves_those_before_it_alone(finished):
    folder = finished[1].run_folder
    files = (folder / f"{name}.safetensors" for name in ("rpn", "box", "model"))
    rpn, box, mask = (snapshot(MaskRCNN.from_preset(path)) for path in files)
    assert all(name.startswith("roi_heads.box_") for name in changed(rpn, box))
    assert changed(rpn, box) and changed(box, mask)
    assert all(name.startswith("roi_heads.mask_") for name in changed(box, mask))


def test_each_stage_is_scored_when_it_ends(finished):
    _, trainer, _ = finished
    metrics = read_json(trainer.run_folder / "metrics.json")
    assert set(metrics) == {"training", "rpn", "box", "mask"}
    assert set(metrics["training"]) == {"rpn", "box", "mask"}
    for facts in metrics["training"].values():
        assert facts["seconds"] > 0 and facts["peak_memory_mb"] > 100
    assert 0 <= metrics["rpn"]["accuracy"] <= 1
    assert set(metrics["mask"]["per_class"]) == set(CLASS_NAMES)


# The last is a whole run of its own, and shows that one seed always gives the same weights.
@pytest.mark.parametrize(
    ("stage", "epoch"), [pytest.param("rpn", 1, marks=pytest.mark.long), ("box", 1), ("mask", 2)]
)
def test_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    finished, scenes, tmp_path, monkeypatch, stage, epoch
):
    config = small_run(scenes, validate=False)
    train_until(monkeypatch, config, tmp_path, stage, epoch)
    assert read_progress(tmp_path / "checkpoint.safetensors") == (stage, epoch)
    resumed = StagedTrainer(config, tmp_path, resume=True, verbose=0)
    assert changed(finished[2], snapshot(resumed.fit())) == set()
    # What was measured before the cut is not lost.
    assert set(read_json(tmp_path / "metrics.json")["training"]) == {"rpn", "box", "mask"}


@pytest.fixture(scope="module")
def other_weights(tmp_path_factory):
    """File and content of weights for five classes, none of which the scenes have."""
    model = small_model(class_names=("a", "b", "c", "d", "e"), min_size=64, max_size=96)
    path = tmp_path_factory.mktemp("weights") / "other.safetensors"
    model.save_pretrained(path)
    return path, snapshot(model)


def starting_from(config, file):
    return config.model_copy(update={"train": config.train.model_copy(update={"weights": str(file)})})


CLASS_LAYERS = ("roi_heads.box_predictor.", "roi_heads.mask_predictor.mask_fcn_logits.")


def test_training_starts_from_weights_with_other_classes(scenes, other_weights, tmp_path, caplog):
    file, theirs = other_weights
    trainer = StagedTrainer(starting_from(small_run(scenes), file), tmp_path, verbose=0)
    ours = snapshot(trainer.model)
    kept = {name: value for name, value in theirs.items() if not name.startswith(CLASS_LAYERS)}
    assert changed(kept, ours) == set() and len(kept) == len(theirs) - 6
    assert [record.message for record in caplog.records] == [
        f"{file}: has 5 classes, the model 3; 6 weights are not loaded: "
        + ", ".join(name for name in theirs if name.startswith(CLASS_LAYERS))
    ]
    assert load_config(tmp_path / "config.yaml").train.weights == str(file)


def test_weights_of_the_whole_model_take_the_place_of_the_backbones(scenes, other_weights, tmp_path):
    config = small_run(scenes)
    network = config.model.model_copy(
        update={"backbone": config.model.backbone.model_copy(update={"weights": str(tmp_path / "nowhere.pth")})}
    )
    config = starting_from(config.model_copy(update={"model": network}), other_weights[0])
    trainer = StagedTrainer(config, tmp_path / "run", verbose=0)
    stem = "backbone.body.conv1.weight"
    assert np.array_equal(snapshot(trainer.model)[stem], other_weights[1][stem])


def test_resumed_run_does_not_look_for_its_first_weights(finished, tmp_path):
    config, trainer, weights = finished
    shutil.copytree(trainer.run_folder, tmp_path / "copy")
    config = starting_from(config, tmp_path / "gone.safetensors")
    resumed = StagedTrainer(config, tmp_path / "copy", resume=True, verbose=0)
    assert changed(weights, snapshot(resumed.model)) == set()


@pytest.mark.parametrize(
    ("settings", "difference"),
    [
        ({"width": 0.25}, "has shape"),
        ({"neck": "c4"}, "holds .* weights that the model does not have"),
        ({"norm": "group_norm"}, "holds .* weights that the model does not have"),
    ],
)
def test_weights_of_another_network_are_refused(scenes, other_weights, tmp_path, settings, difference):
    file, run = other_weights[0], tmp_path / "run"
    with pytest.raises(WeightsError, match=difference) as caught:
        StagedTrainer(starting_from(small_run(scenes, **settings), file), run, verbose=0)
    hint = f"; `keras-mrcnn weights inspect {file} --yaml` prints the model settings of the file"
    assert str(caught.value).endswith(hint) and "\n" not in str(caught.value)
    assert not run.exists()


def test_weights_that_cannot_be_read_are_named(scenes, tmp_path):
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(b"torn")
    for file, message in ((torn, "not a whole safetensors file"), (tmp_path / "gone.safetensors", "no such file")):
        with pytest.raises(WeightsError, match=f"{file.name}: {message}") as caught:
            StagedTrainer(starting_from(small_run(scenes), file), tmp_path / "run", verbose=0)
        assert "inspect" not in str(caught.value)


def test_frozen_random_backbone_is_warned_of(scenes, tmp_path, caplog):
    StagedTrainer(small_run(scenes, norm="frozen_bn"), tmp_path, verbose=0)
    assert "parts of it stay random; set freeze_stages=0 and norm=bn, or model.backbone.weights or" in caplog.text


def test_another_seed_gives_other_weights_and_batches(scenes, tmp_path):
    first, second = (StagedTrainer(small_run(scenes, seed=s), tmp_path / str(s), verbose=0) for s in (0, 1))
    assert greatest_difference(snapshot(first.model), snapshot(second.model)) > 0.01
    orders = [
        [batch["seeds"].numpy().tolist() for batch in trainer.batches.dataset("rpn", trainer.model, 0).take(2)]
        for trainer in (first, second)
    ]
    assert orders[0] != orders[1]


def test_finished_run_can_be_resumed_and_stays_as_it_is(finished, tmp_path):
    config, trainer, weights = finished
    shutil.copytree(trainer.run_folder, tmp_path / "copy")
    resumed = StagedTrainer(config, tmp_path / "copy", resume=True, verbose=0)
    assert changed(weights, snapshot(resumed.fit())) == set()


def test_existing_run_is_refused(finished):
    config, trainer, _ = finished
    with pytest.raises(FileExistsError, match="holds a run already; resume it with --resume, or name another folder"):
        StagedTrainer(config, trainer.run_folder, verbose=0)


def test_nothing_to_resume_is_refused(scenes, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no checkpoint to resume from; train without --resume"):
        StagedTrainer(small_run(scenes), tmp_path, resume=True, verbose=0)


def test_torn_checkpoint_is_refused(finished, tmp_path):
    config, trainer, _ = finished
    whole = (trainer.run_folder / "checkpoint.safetensors").read_bytes()
    (tmp_path / "checkpoint.safetensors").write_bytes(whole[:-100])
    with pytest.raises(WeightsError, match="checkpoint.safetensors: not a whole safetensors file"):
        StagedTrainer(config, tmp_path, resume=True, verbose=0)


def test_batch_that_the_devices_cannot_share_is_refused(scenes, tmp_path):
    devices = types.SimpleNamespace(num_replicas_in_sync=3, cluster_resolver=None)
    with pytest.raises(ValueError, match="data.batch_size 2 cannot be shared by 3 devices"):
        StagedTrainer(small_run(scenes), tmp_path, strategy=devices, verbose=0)


def test_missing_settings_are_named(scenes, tmp_path):
    with pytest.raises(ValueError, match="data.train_annotations and data.train_images must be set"):
        StagedTrainer(small_run(scenes, data={"train_images": None}), tmp_path, verbose=0)


def test_non_finite_loss_ends_the_run_and_spares_the_checkpoint(scenes, tmp_path):
    config = small_run(
        scenes, validate=False, rpn={"epochs": 1}, box={"learning_rate": 1e30, "epochs": 3, "clip_norm": None}
    )
    trainer = StagedTrainer(config, tmp_path, verbose=0)
    with pytest.raises(NonFiniteLossError, match="of the box stage is not finite in epoch 1"):
        trainer.fit()
    assert read_progress(tmp_path / "checkpoint.safetensors") == ("rpn", 1)
    resumed = StagedTrainer(config, tmp_path, resume=True, verbose=0)
    assert all(np.isfinite(value).all() for value in snapshot(resumed.model).values())


def test_data_problems_stop_the_run_unless_skipped(scenes, tmp_path, caplog):
    annotations = json.loads(scenes.annotation_files["train"].read_text())
    annotations["images"][0]["file_name"] = "gone.jpg"
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(annotations))
    data = {"train_annotations": str(bad)}
    with pytest.raises(DataError, match=r"problems; mend them, or leave them out with --skip-bad\n.*gone\.jpg"):
        StagedTrainer(small_run(scenes, data=data), tmp_path / "stopped", verbose=0)
    trainer = StagedTrainer(small_run(scenes, data={**data, "skip_bad": True}), tmp_path / "skipped", verbose=0)
    assert len(trainer.train_data.image_ids) == len(annotations["images"]) - 1
    assert "dropped 1 " in caplog.text


def test_shard_that_goes_missing_while_training_is_named(scenes, tmp_path):
    data = {"prepared_folder": str(tmp_path / "prepared")}
    trainer = StagedTrainer(small_run(scenes, validate=False, data=data), tmp_path / "run", verbose=0)
    shard = next((tmp_path / "prepared").rglob("*.tfrecord"))
    shard.unlink()
    with pytest.raises(DataError, match=f"^{shard} cannot be read .*; delete the folder and prepare the data again$"):
        trainer.fit()


def test_images_are_not_needed_once_they_are_prepared(scenes, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(scenes.image_folders["train"], images)
    settings = {"rpn": {"epochs": 1}, "box": {"epochs": 0}, "mask": {"epochs": 0}}
    config = small_run(scenes, validate=False, data={"train_images": str(images)}, **settings)
    trainer = StagedTrainer(config, tmp_path / "run", verbose=0)
    shutil.rmtree(images)
    trainer.fit()
    assert len(trainer.history["rpn"]["loss"]) == 1


def test_progress_is_shown_and_without_validation_nothing_is_scored(scenes, tmp_path, capsys):
    config = small_run(scenes, validate=False, rpn={"epochs": 1}, box={"epochs": 0}, mask={"epochs": 0})
    StagedTrainer(config, tmp_path, verbose=2).fit()
    shown = capsys.readouterr().out
    line = "rpn stage: 4 images, 1 epochs of 2 steps, warm-up 0 steps, learning rate 0.001\n"
    assert line in shown and "objectness_loss" in shown and "peak memory" in shown
    assert set(read_json(tmp_path / "metrics.json")) == {"training"}


def test_two_images_are_learned_by_heart(tmp_path):
    """Every object is found, at the right place, with its class, and the loss of every stage falls."""
    sides = {"height_range": (128, 144), "width_range": (128, 144)}
    scenes = generate_scenes(tmp_path / "scenes", num_train=2, num_val=1, seed=50, workers=1, **sides)
    stage = {
        "epochs": 2, "optimizer": "adamw", "weight_decay": 0.0, "schedule": "cosine", "warmup_steps": 10,
        "clip_norm": 5.0,
    }  # fmt: skip
    # Steps an epoch and learning rate of each stage.
    settings = {"rpn": (60, 1.4e-2), "box": (45, 2.8e-3), "mask": (20, 5.6e-3)}
    stages = {
        name: {**stage, "steps_per_epoch": steps, "learning_rate": rate} for name, (steps, rate) in settings.items()
    }
    network = {"norm": "group_norm", "width": 0.25, "min_size": 128, "max_size": 160}
    box_head = {"channels": 256, "samples": 32}
    config = small_run(scenes, validate=False, data={"flip": 0.0}, **stages, **network, box_head=box_head)
    trainer = StagedTrainer(config, tmp_path / "run", verbose=0)
    data = trainer.train_data
    scores, results = evaluate_model(trainer.fit(), data, progress=False)
    assert scores["rpn"]["accuracy"] > 0.95
    assert scores["box"]["AP50"] > 0.7
    likely = [result for result in results if result["score"] > 0.2]
    for truth in data.coco.anns.values():
        same = [
            result["bbox"]
            for result in likely
            if (result["image_id"], result["category_id"]) == (truth["image_id"], truth["category_id"])
        ]
        assert same and mask_api.iou(same, [truth["bbox"]], [0]).max() > 0.5, truth
    for stage in stages:
        losses = shown_losses(trainer.run_folder, stage)
        assert losses[-1] < 0.8 * losses[0], stage


def shown_losses(run_folder, stage):
    """The loss of each epoch out of the TensorBoard logs."""
    logs = EventAccumulator(str(run_folder / "logs" / stage / "train"), {"tensors": 0}).Reload()
    assert "epoch_loss" in logs.Tags()["tensors"]
    return [float(tf.make_ndarray(event.tensor_proto)) for event in logs.Tensors("epoch_loss")]


def test_losses_of_every_epoch_are_in_the_tensorboard_logs(finished):
    for stage in ("rpn", "box", "mask"):
        losses = shown_losses(finished[1].run_folder, stage)
        assert len(losses) == 2 and all(np.isfinite(losses))
