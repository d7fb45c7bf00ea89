"""Cross-validation: every image is examined by a model that was not trained on it, and nothing is done twice."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from conftest import write_tiny
from small_training import small_config

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.config import Config, load_config
from keras_mrcnn.data.coco import load_annotations
from keras_mrcnn.suspects import cross_validation
from keras_mrcnn.suspects.cross_validation import cross_validate

UNTRAINED = {"epochs": 0}


@pytest.fixture(scope="module")
def config():
    stages = {name: UNTRAINED for name in ("rpn", "box", "mask", "joint")}
    return Config(model=small_config(class_names=()), train={**stages, "validation_images": 0})


@pytest.fixture(autouse=True)
def _same_detection_in_each_image(monkeypatch):
    def evaluate_model(model, dataset, stages, batch_size):
        assert model.config.class_names == dataset.class_names == ("kite", "dog") and batch_size == 2
        fields = {"category_id": 7, "bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.5}
        results = [{"image_id": image_id, **fields} for image_id in dataset.image_ids]
        return {stage: {"AP": 0.25} for stage in stages}, results

    monkeypatch.setattr(cross_validation, "evaluate_model", evaluate_model)


def image_ids(items, name="id"):
    return sorted(item[name] for item in items)


def test_every_image_is_held_out_once_and_nothing_is_done_twice(tmp_path, config, monkeypatch):
    annotations, images, content = write_tiny(tmp_path)
    detected = cross_validate(content, images, config, tmp_path / "out", folds=2, verbose=0)
    folds = json.loads((tmp_path / "out" / "folds.json").read_text())["images"]
    assert sorted(folds[0] + folds[1]) == [3, 5, 8, 9]
    for number, (fold, of_fold) in enumerate(zip(folds, detected), start=1):
        place = tmp_path / "out" / f"fold-{number}"
        assert image_ids(load_annotations(place / "train.json")["images"]) == sorted({3, 5, 8, 9} - set(fold))
        run = load_config(place / "run" / "config.yaml")
        assert run.data.train_annotations == str(place / "train.json") and run.data.val_annotations is None
        assert image_ids(of_fold.results, "image_id") == fold
        assert of_fold.scores == {"box": {"AP": 0.25}, "mask": {"AP": 0.25}} and of_fold.category_ids == [7, 18]

    (tmp_path / "out" / "fold-2" / "held_out.json").unlink()  # as if the command had been interrupted
    monkeypatch.setattr(cross_validation, "StagedTrainer", None)  # would fail if it were called
    assert cross_validate(content, images, config, tmp_path / "out", folds=2, verbose=0) == detected
    with pytest.raises(UserError, match="begun with other folds and seed; take the same, or another folder"):
        cross_validate(content, images, config, tmp_path / "out", folds=3, seed=1, verbose=0)
    other = {**content, "annotations": content["annotations"][1:]}
    with pytest.raises(UserError, match="begun with other annotations"):
        cross_validate(other, images, config, tmp_path / "out", folds=2, verbose=0)


def test_more_folds_than_images(tmp_path, config):
    _, images, content = write_tiny(tmp_path)
    with pytest.raises(UserError, match="4 images in 4 groups, which are too few for 5 folds"):
        cross_validate(content, images, config, tmp_path / "out", folds=5, verbose=0)
    assert not (tmp_path / "out").exists()


def test_a_model_without_any_of_the_classes_is_refused(tmp_path):
    model = SimpleNamespace(config=small_config())
    _, images, content = write_tiny(tmp_path)
    with pytest.raises(UserError, match="classes vehicle, person, animal, and the data have dog, kite"):
        cross_validation.detect(model, content, images)
