"""Each stage gets its batches from images or out of the cache, as the settings say, and trains the same on both."""

import shutil
import types

import numpy as np
import pytest
import tensorflow as tf
from mixed_data import write_mixed
from small_training import changed, greatest_difference, small_model, small_run, snapshot

from keras_mrcnn.data.check import DataError
from keras_mrcnn.training.batches import StageBatches
from keras_mrcnn.training.cache_files import CacheError
from keras_mrcnn.training.optimizers import make_optimizer
from keras_mrcnn.training.run_setup import open_data
from keras_mrcnn.training.stages import BoxStage, MaskStage

NETWORK = {"min_size": 64, "max_size": 160}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    annotation_file, images = write_mixed(tmp_path_factory.mktemp("mixed"))
    return types.SimpleNamespace(annotation_files={"train": annotation_file}, image_folders={"train": images})


@pytest.fixture(scope="module")
def model():
    return small_model(neck="c4", **NETWORK)


class Run:
    """`StageBatches` on the mixed images, and what it says."""

    def __init__(self, files, folder, *, data=None, box=None, mask=None, rpn=None, neck="c4", **train):
        settings = {"neck": neck, "data": {"batch_size": 4, **(data or {})}, "box": box, "mask": mask, **NETWORK}
        config = small_run(files, validate=False, **settings)
        self.config = config.model_copy(update={"train": config.train.model_copy(update=train)})
        self.data = open_data(self.config, "train", folder)
        self.said, self.folder = [], folder
        self.batches = StageBatches(self.config, self.data, folder, self.said.append, progress=False)

    def first(self, stage, model, start_batch=0):
        return next(iter(self.batches.dataset(stage, model, start_batch)))

    def cached(self):
        return sorted(path.name for path in (self.folder / "cache").rglob("*.tfrecord"))


def test_steps_of_an_epoch(files, tmp_path):
    run = Run(files, tmp_path, box={"steps_per_epoch": None})
    assert run.batches.steps_per_epoch("box") == 7 // 4 and run.batches.steps_per_epoch("mask") == 2


def test_without_a_cache_all_stages_get_images(files, model, tmp_path):
    run = Run(files, tmp_path, cache_features="off")
    masks = {stage: run.first(stage, model)["gt_masks"].shape[2] for stage in ("rpn", "box", "mask")}
    assert masks == {"rpn": 0, "box": 0, "mask": 28}
    assert all("images" in run.first(stage, model) for stage in masks)
    assert run.said == [] and list(tmp_path.iterdir()) == []


def test_box_and_mask_stage_read_one_cache(files, model, tmp_path):
    run = Run(files, tmp_path, cache_features="auto")
    assert "images" in run.first("rpn", model) and run.cached() == []
    box = run.first("box", model)
    assert "features_0" in box and "gt_masks" not in box
    # Two epochs of two steps of four: two epochs of the stream, so both epochs, but not of every image.
    needed = run.batches.cache.needed(run.batches._plan(), 4)
    names = sorted(f"{row:07d}-{epoch}.tfrecord" for epoch, row in needed)
    assert run.cached() == names and 7 < len(names) <= 14
    mask = run.first("mask", model, start_batch=3)
    assert mask["gt_masks"].shape[2] == 28 and run.cached() == names
    assert len(run.said) == 1
    assert f"writing {len(names)} of {len(names)} augmented images, at most 0.00 GB" in run.said[0]
    run.batches.remove_cache()
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_would_save_nothing_is_not_made_unless_asked_for(files, model, tmp_path):
    once = {"box": {"epochs": 1, "steps_per_epoch": 1}, "mask": {"epochs": 0}}
    run = Run(files, tmp_path, cache_features="auto", **once)
    assert "images" in run.first("box", model) and run.cached() == []
    run = Run(files, tmp_path, cache_features="on", **once)
    assert "features_0" in run.first("box", model) and len(run.cached()) == 4


@pytest.fixture
def full_disk(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=1000))


def test_what_does_not_fit_is_refused_or_left_out(files, model, tmp_path, full_disk):
    with pytest.raises(CacheError, match="need 0.00 GB, 0.00 GB are free; make room"):
        Run(files, tmp_path, cache_features="on").first("box", model)
    run = Run(files, tmp_path, cache_features="auto")
    assert "images" in run.first("box", model) and "images" in run.first("mask", model)
    assert len(run.said) == 1 and run.said[0].startswith("No feature cache: ") and "make room" in run.said[0]
    assert run.cached() == []


def test_disk_that_fills_up_meanwhile(files, model, tmp_path, monkeypatch):
    def fail(path, tensors):
        raise CacheError("x.tfrecord: cannot be written")

    monkeypatch.setattr("keras_mrcnn.training.feature_cache.write_tensors", fail)
    with pytest.raises(CacheError, match="cannot be written"):
        Run(files, tmp_path, cache_features="on").first("box", model)
    run = Run(files, tmp_path, cache_features="auto")
    assert "images" in run.first("box", model)
    assert run.said[1:] == ["No feature cache: x.tfrecord: cannot be written"]


def test_cache_in_a_named_folder_is_kept(files, model, tmp_path):
    run = Run(files, tmp_path / "run", cache_features="on", cache_folder=str(tmp_path / "disk"))
    (tmp_path / "disk" / "of another run").mkdir(parents=True)
    run.first("box", model)
    written = list(run.batches.cache.folder.glob("*.tfrecord"))
    assert len(written) > 7 and run.batches.cache.folder.parent.name == "disk"
    run.batches.remove_cache()
    # Other runs with the same frozen weights may be reading there.
    assert all(path.is_file() for path in written) and (tmp_path / "disk" / "of another run").is_dir()
    assert not (tmp_path / "run").exists()


def test_cache_of_an_interrupted_run_is_removed_at_the_end(files, model, tmp_path):
    Run(files, tmp_path, cache_features="on").first("box", model)
    Run(files, tmp_path, cache_features="on").batches.remove_cache()
    assert list(tmp_path.iterdir()) == []


def test_each_way_of_looking_has_a_cache_of_its_own(files, model, tmp_path):
    changes = [
        {}, {"seed": 1}, {"cache_dtype": "bfloat16"}, {"cache_dtype": "float16"}, {"data": {"flip": 0.0}},
        {"data": {"mask_size": 14}}, {"data": {"scale_jitter": (0.9, 1.0)}}, {"data": {"min_sizes": (64, 80)}},
    ]  # fmt: skip
    folders = {Run(files, tmp_path, **change).batches._make_cache(model).folder for change in changes}
    assert len(folders) == len(changes)
    same = [{"cache_dtype": "float32"}, {"cache_epochs": 3}, {"data": {"batch_size": 2}}, {"cache_features": "on"}]
    assert {Run(files, tmp_path, **change).batches._make_cache(model).folder for change in same} < folders


def train(files, folder, start, neck, mode):
    """Losses of both stages after each epoch, and the weights, trained with or without a cache."""
    model, losses = small_model(neck=neck, **NETWORK), []
    for variable, value in zip(model.weights, start):
        variable.assign(value)
    # As many epochs as there are epochs in the stream, so that every batch is the one without a cache.
    run = Run(files, folder, neck=neck, cache_features=mode, cache_epochs=3)
    for name, make_stage in (("box", BoxStage), ("mask", MaskStage)):
        stage, settings = make_stage(model), getattr(run.config.train, name)
        stage.compile(make_optimizer(settings, 4))
        history = stage.fit(run.batches.dataset(name, model, 0), steps_per_epoch=2, epochs=2, verbose=0)
        losses += history.history["loss"]
    return losses, snapshot(model)


@pytest.mark.parametrize("neck", ["fpn", pytest.param("c4", marks=pytest.mark.long)])
def test_training_is_the_same_with_and_without_a_cache(files, tmp_path, neck):
    first = small_model(neck=neck, **NETWORK)
    start = first.get_weights()
    (losses, weights), (others, other_weights) = (train(files, tmp_path, start, neck, mode) for mode in ("on", "off"))
    np.testing.assert_allclose(losses, others, rtol=1e-5)
    assert greatest_difference(weights, other_weights) < 1e-5
    assert {name.split("_")[1] for name in changed(weights, snapshot(first))} == {"heads.box", "heads.mask"}


def damaged(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [damaged, lambda path: path.unlink()], ids=["damaged", "gone"])
def test_what_cannot_be_read_is_named(files, model, tmp_path, damage):
    own = {"prepared_folder": str(tmp_path / "prepared")}
    run = Run(files, tmp_path, cache_features="on", data=own)
    run.first("box", model)
    shard = next((tmp_path / "prepared").rglob("*.tfrecord"))
    cached = run.batches.cache.path(run.batches.cache.needed(run.batches._plan(), 1)[0])
    for path, kind, stage in ((cached, CacheError, "box"), (shard, DataError, "rpn")):
        batches = run.batches.dataset(stage, model, 0)
        damage(path)
        with pytest.raises(kind) as caught, run.batches.reading():
            list(batches.take(8))
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        path.unlink(missing_ok=True)


def test_other_errors_stay_what_they_are(files, model, tmp_path):
    run = Run(files, tmp_path, cache_features="on")
    run.first("box", model)
    for error in (RuntimeError("x"), tf.errors.InvalidArgumentError(None, None, "x")):
        with pytest.raises(type(error)) as caught, run.batches.reading():
            raise error
        assert caught.value is error


@pytest.mark.parametrize("mode", ["off", "on"])
def test_a_folder_that_we_did_not_make_is_not_removed(files, model, tmp_path, mode):
    mine = [tmp_path / "cache" / "notes.txt", tmp_path / "cache" / "old" / "0000001-0.npz"]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    (tmp_path / "cache" / "empty").mkdir()
    run = Run(files, tmp_path, cache_features=mode)
    run.first("box", model)
    if mode == "on":
        mine.append(run.batches.cache.folder / "my notes.txt")
        mine[-1].write_text("mine")
    run.batches.remove_cache()
    left = {path for path in tmp_path.rglob("*") if path.is_file() and path.name != "CACHEDIR.TAG"}
    assert left == set(mine) and (tmp_path / "cache" / "empty").is_dir()
