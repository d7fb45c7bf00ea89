"""Cross-validation: every image is examined by a model that was not trained on it, and nothing is done twice."""

from __future__ import annotations

import json

import pytest
from conftest import write_tiny
from small_training import small_config

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.config import Config, load_config
from keras_mrcnn.data.coco import load_annotations
from keras_mrcnn.suspects import cross_validation
from keras_mrcnn.suspects.cross_validation import cross_validate

UNTRAINED = {"epochs": 0}  # the weights stay random, which is quick and detects enough to be ranked


@pytest.fixture(scope="module")
def config():
    model = small_config(class_names=(), min_size=64, max_size=96, box_head={"channels": 16, "score_threshold": 0.0})
    stages = {name: UNTRAINED for name in ("rpn", "box", "mask", "joint")}
    return Config(model=model, train={**stages, "validation_images": 0}, data={"eval_batch_size": 1})


def image_ids(items):
    return {item["id"] for item in items}


def test_every_image_is_held_out_once_and_nothing_is_done_twice(tmp_path, config, monkeypatch):
    annotations, images, content = write_tiny(tmp_path)
    detected = cross_validate(content, images, config, tmp_path / "out", folds=2, verbose=0)
    folds = json.loads((tmp_path / "out" / "folds.json").read_text())["images"]
    assert sorted(folds[0] + folds[1]) == [3, 5, 8, 9]
    for number, fold in enumerate(folds, start=1):
        place = tmp_path / "out" / f"fold-{number}"
        assert image_ids(load_annotations(place / "train.json")["images"]) == {3, 5, 8, 9} - set(fold)
        run = load_config(place / "run" / "config.yaml")
        assert run.data.train_annotations == str(place / "train.json") and run.data.val_annotations is None
        results = json.loads((place / "held_out.json").read_text())["results"]
        assert {result["image_id"] for result in results} <= set(fold)
    assert [sorted(of_fold.scores) for of_fold in detected] == [["box", "mask"]] * 2
    assert [of_fold.category_ids for of_fold in detected] == [[7, 18]] * 2

    monkeypatch.setattr(cross_validation, "_train", None)  # would fail if it were called
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
