"""The data of a run: prepared beside it, found again, named by hand, or refused with a sentence."""

import shutil
from pathlib import Path

import pytest
from small_training import CLASS_NAMES, small_run

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.prepare import prepare_dataset
from keras_mrcnn.training.checkpoint import Progress
from keras_mrcnn.training.run_setup import open_data, prepared_folder, shared_settings


def config_of(scenes, **data):
    return small_run(scenes, data={"prepared_folder": None, **data})


def times(folder):
    """When each file was written."""
    return {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*") if path.is_file()}


def test_data_are_prepared_beside_the_run_and_used_again(scenes, tmp_path):
    config = config_of(scenes)
    for split, count in (("train", 4), ("val", 2)):
        data = open_data(config, split, tmp_path / "runs" / "first")
        assert (len(data), data.class_names, data.mask_size) == (count, CLASS_NAMES, 28)
        assert Path(data.folder).parent == tmp_path / "runs" / "prepared"
        assert Path(data.folder).name.startswith(f"{split}-")
        before = times(data.folder)
        again = open_data(config, split, tmp_path / "runs" / "second")
        assert again.folder == data.folder and times(data.folder) == before


def test_a_named_folder_is_used(scenes, tmp_path):
    data = open_data(config_of(scenes, prepared_folder=str(tmp_path / "disk")), "train", tmp_path / "run")
    assert Path(data.folder).parent == tmp_path / "disk" and not (tmp_path / "prepared").exists()


def test_runs_with_other_data_or_masks_do_not_replace_each_other(scenes, tmp_path):
    sources = [("a/train.json", "a"), ("b/train.json", "a"), ("a/train.json", "b")]
    folders = {prepared_folder(tmp_path, *source, size) for source in sources for size in (28, 56)}
    assert len(folders) == 6 and all(Path(folder).parent == tmp_path for folder in folders)
    data = open_data(config_of(scenes), "train", tmp_path / "run")
    before = times(data.folder)
    assert open_data(config_of(scenes, mask_size=14), "train", tmp_path / "run").mask_size == 14
    assert times(data.folder) == before


def test_the_way_that_leads_to_the_files_does_not_matter(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = prepared_folder("x", str(tmp_path / "train.json"), str(tmp_path / "images"), 28)
    assert prepared_folder("x", "train.json", "images", 28) == whole


def test_prepared_data_can_be_named_without_images(scenes, tmp_path):
    made = prepare_dataset(scenes.annotation_files["val"], scenes.image_folders["val"], tmp_path / "made", mask_size=28)
    config = config_of(scenes, val_annotations=made.folder, val_images=None)
    data = open_data(config, "val", tmp_path / "run")
    assert data.folder == made.folder and data.key == made.key and not (tmp_path / "prepared").exists()


def test_data_prepared_with_other_masks_are_refused(scenes, tmp_path):
    made = prepare_dataset(scenes.annotation_files["val"], scenes.image_folders["val"], tmp_path / "made", mask_size=14)
    with pytest.raises(UserError, match="made was prepared with masks of side 14, but data.mask_size is 28; set "):
        open_data(config_of(scenes, val_annotations=made.folder), "val", tmp_path / "run")


def test_no_data(scenes, tmp_path):
    for missing in ("val_annotations", "val_images"):
        with pytest.raises(UserError, match="data.val_annotations and data.val_images must be set to train"):
            open_data(config_of(scenes, **{missing: None}), "val", tmp_path / "run")


def test_workers_agree_on_what_the_data_hold_and_not_where_they_are(scenes, tmp_path):
    settings = []
    for name in ("here", "there"):
        annotations = tmp_path / name / "train.json"
        annotations.parent.mkdir()
        shutil.copy(scenes.annotation_files["train"], annotations)
        config = config_of(scenes, train_annotations=str(annotations), prepared_folder=str(tmp_path / name))
        settings.append(shared_settings(config, Progress("rpn", 0), open_data(config, "train", tmp_path / name)))
    assert settings[0] == settings[1] and settings[0]["train.seed"] == 0
    config = config_of(scenes, train_annotations=str(scenes.annotation_files["val"]),
                       train_images=str(scenes.image_folders["val"]))  # fmt: skip
    other = shared_settings(config, Progress("rpn", 0), open_data(config, "train", tmp_path / "run"))
    assert {name for name in other if other[name] != settings[0][name]} == {"the training data"}
