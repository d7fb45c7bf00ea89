"""`keras-mrcnn evaluate --errors`: a table for people, the same in the JSON file, from one pass over the data."""

from __future__ import annotations

import json

import keras
import pytest
from click.testing import CliRunner
from small_models import small_config

from keras_mrcnn.cli import main
from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.evaluation.error_tables import format_errors
from keras_mrcnn.evaluation.errors import KINDS, analyse_errors
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.scenes.generator import generate_scenes


def run(*arguments):
    return CliRunner().invoke(main, ["evaluate", *(str(argument) for argument in arguments)])


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "scenes"
    generate_scenes(folder, num_train=1, num_val=2, height_range=(96, 110), width_range=(96, 110), workers=1)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A weight file that knows two of the scenes' classes and finds something everywhere, without training."""
    keras.utils.set_random_seed(1)
    config = small_config(
        class_names=("vehicle", "animal"), category_ids=(1, 3), min_size=64, max_size=96,
        box_head={"score_threshold": 0.0},
    )  # fmt: skip
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    MaskRCNN(config).save_pretrained(path)
    return path


def test_errors_of_boxes_and_masks_are_printed_and_written(weights, scenes, tmp_path):
    metrics, results = tmp_path / "metrics.json", tmp_path / "results.json"
    result = run(weights, "--data", scenes, "--errors", "--json", metrics, "--results", results)
    assert result.exit_code == 0, result.output
    scores, found = json.loads(metrics.read_text()), json.loads(results.read_text())
    annotations, images = scenes / "annotations" / "val.json", scenes / "images" / "val"
    dataset = CocoDataset(annotations, images, ("vehicle", "animal"))
    expected = {
        stage: analyse_errors(dataset.coco, found, iou_type, dataset.image_ids, dataset.category_ids)
        for stage, iou_type in (("box", "bbox"), ("mask", "segm"))
    }
    assert set(scores) == {"rpn", "box", "mask", "errors"} and scores["errors"] == expected
    assert result.output.endswith("\n\n" + format_errors(expected) + "\n")
    for stage, errors in expected.items():
        assert errors["AP50"] == pytest.approx(scores[stage]["AP50"], abs=1e-6)
        assert errors["detections"] == len(found) > 0 and set(errors["kinds"]) == set(KINDS)


def test_only_what_is_scored_is_analysed(scenes, weights, tmp_path, monkeypatch):
    """The model itself is not run: it would find nothing."""
    scores = {"box": {"AP50": 0.0}}
    monkeypatch.setattr("keras_mrcnn.evaluation.evaluator.evaluate_model", lambda *_, **settings: (scores.copy(), []))
    metrics = tmp_path / "metrics.json"
    arguments = (weights, "--data", scenes, "--stages", "box", "--json", metrics)
    result = run(*arguments, "--errors")
    assert result.exit_code == 0, result.output
    assert set(json.loads(metrics.read_text())["errors"]) == {"box"}
    assert "mistakes at IoU 0.5" in result.output and "mask" not in result.output
    result = run(*arguments)
    assert result.exit_code == 0 and "mistakes" not in result.output
    assert set(json.loads(metrics.read_text())) == {"box"}


def test_the_rpn_alone_makes_no_such_errors(scenes, weights):
    result = run(weights, "--data", scenes, "--stages", "rpn", "--errors")
    assert result.exit_code == 2
    assert "the RPN alone finds no objects for --errors; score box or mask too" in result.output
