import importlib
import json
import re

import numpy as np
import pytest
import tensorflow as tf
import yaml
from command_line import run
from small_models import small_config

import keras_mrcnn
from keras_mrcnn.config import ModelConfig
from keras_mrcnn.export.folding import fold_norms
from keras_mrcnn.export.model_card import model_card, read_metrics
from keras_mrcnn.mask_rcnn.model import MaskRCNN

METRICS = {
    "training": {
        "rpn": {"seconds": 722.4, "peak_memory_mb": 1078},
        "box": {"seconds": 203.8, "peak_memory_mb": 1141},
    },
    "rpn": {"accuracy": 0.99142, "AR100": 0.6133},
    "box": {"AP": 0.45630, "AP_small": None, "per_class": {"a|b": 0.5714, "person": None}},
    "mask": {"AP": 0.30165, "AP50": 0.69596, "per_class": {"person": 0.2394}},
}


@pytest.fixture(scope="module")
def model():
    return MaskRCNN(small_config(class_names=("a|b", "N/A", "person"), category_ids=(3, 4, 90)))


def section(card, title):
    return re.search(rf"^## {title}\n\n(.*?)(?=\n## |\Z)", card, re.M | re.S).group(1)


def rows(text):
    """The cells of all tables, heads and rules left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]) for line in lines]
    return [row for row, after in zip(cells, [*cells[1:], ("",)]) if row[0] != "---" and after[0] != "---"]


def test_says_what_the_model_is(model):
    card = model_card(model, name="scenes", metrics=METRICS)
    assert card.startswith("# scenes\n\nA Mask R-CNN that finds objects of 2 classes in pictures")
    assert card.endswith("\n") and not card.endswith("\n\n")
    assert rows(section(card, "Classes")) == [("3", "a\\|b"), ("90", "person")]
    network = dict(rows(section(card, "Network")))
    assert network["backbone"] == "ResNet-18 of width 0.125, norm frozen_bn"
    assert network["neck"] == "FPN, 8 channels"
    assert network["parameters"] == f"{model.count_params() - frozen_numbers(model):,}"
    assert network["input size"] == "short side 800, long side at most 1333 pixels"
    assert network["anchors"] == "sides 32, 64, 128, 256, 512; height / width 0.5, 1, 2"
    assert section(card, "Files").split() == ["-", "`saved_model.pb`"]


def frozen_numbers(model):
    """How many numbers the frozen batch norms of the backbone have."""
    return sum(int(np.prod(weight.shape)) for weight in model.backbone.non_trainable_weights)


@pytest.mark.parametrize("norm", ["frozen_bn", "bn", "group_norm"])
def test_parameters_are_those_of_weights_inspect(norm, tmp_path):
    model = MaskRCNN(small_config(backbone={"norm": norm, "freeze_stages": 2}, mask_head={"norm": norm}))
    model.save_pretrained(tmp_path / "model.safetensors")
    inspected = run("weights", "inspect", tmp_path / "model.safetensors").output
    (total,) = re.findall(r"^all +\d+ +([\d,]+) ", inspected, re.M)
    assert dict(rows(section(model_card(model, name="m"), "Network")))["parameters"] == total
    assert int(total.replace(",", "")) < model.count_params() or norm == "group_norm"


def test_the_config_can_be_read_back(model):
    text = re.fullmatch(r"```yaml\n(.*)```\n?", section(model_card(model, name="m"), "Config"), re.S).group(1)
    assert ModelConfig.model_validate(yaml.safe_load(text)["model"]) == model.config


def test_contract_of_a_saved_model(model):
    card = model_card(model, name="m", files=("saved_model.pb", "assets/config.json"))
    found = {row[0]: row[1] for row in rows(section(card, "Input and output"))}
    assert found["`serving_default`"].startswith("`images`: string [B]")
    assert found["`detect`"].startswith("`images`: uint8 [B, H, W, 3]")
    assert found["`boxes`"] == "float32 [B, 5, 4]" and found["`masks`"] == "uint8 [B, 5, 28, 28]"
    assert section(card, "Files").split("\n")[:2] == ["- `assets/config.json`", "- `saved_model.pb`"]
    assert "onnx" not in dict(rows(section(card, "Versions")))


def test_contract_of_an_onnx_file(model):
    pytest.importorskip("tf2onnx")
    card = model_card(model, name="m", files=("m.onnx",), variant="int8")
    found = {row[0]: row[1] for row in rows(section(card, "Input and output"))}
    assert found["`images`"].startswith("uint8 [B, H, W, 3]") and "`serving_default`" not in found
    versions = dict(rows(section(card, "Versions")))
    assert list(versions) == ["keras_mrcnn", "tensorflow", "keras", "numpy", "tf2onnx", "onnx"]
    assert versions["keras_mrcnn"] == keras_mrcnn.__version__
    assert versions["numpy"] == importlib.import_module("numpy").__version__
    assert "This variant, int8, has convolutions quantised" in card


def test_the_card_names_the_outputs_that_there_are(exported):
    """The tables are words; here they are held against the graph."""
    card = model_card(exported.detector.model, name="m")
    found = {row[0].strip("`"): row[1] for row in rows(section(card, "Input and output"))}
    outputs = exported.detector.detect.get_concrete_function().structured_outputs
    for name, value in outputs.items():
        sizes = ", ".join("B" if size is None else str(size) for size in value.shape)
        assert found[name] == f"{value.dtype.name} [{sizes}]"
    assert {name for name in found if name not in outputs} == {
        "serving_default", "serving_compact", "detect", "detect_padded",
    }


def test_scores_and_training(model):
    card = model_card(model, name="m", metrics=METRICS)
    assert rows(section(card, "Scores")) == [
        ("accuracy", "0.991"),
        ("AR100", "0.613"),
        ("AP", "0.456", "0.302"),
        ("AP small", "-", "-"),
        ("AP50", "-", "0.696"),
        ("a\\|b", "0.571", "-"),
        ("person", "-", "0.239"),
    ]
    assert rows(section(card, "Training")) == [("rpn", "722", "1,078"), ("box", "204", "1,141")]


def test_without_metrics(model):
    card = model_card(model, name="m")
    assert section(card, "Scores").strip() == "This model was not scored."
    assert section(card, "Training").startswith("Not known")


def test_one_stage_alone(model):
    card = model_card(model, name="m", metrics={"box": {"AP": 0.5, "per_class": {}}})
    assert rows(section(card, "Scores")) == [("AP", "0.500")]


def test_the_same_text_each_time(model):
    assert model_card(model, name="m", metrics=METRICS) == model_card(model, name="m", metrics=METRICS)


@pytest.mark.parametrize("variant", ["float32", "bfloat16"])
def test_says_what_the_weights_are_stored_in(model, variant):
    (stored,) = {tf.as_dtype(weight.dtype).name for weight in fold_norms(model, variant).weights}
    assert f"stores its weights in {stored}. " in model_card(model, name="m", variant=variant)


def test_refuses_a_variant(model):
    with pytest.raises(ValueError, match="variant is 'int4', expected one of float32, bfloat16, int8"):
        model_card(model, name="m", variant="int4")


def test_reads_a_run(tmp_path):
    assert read_metrics(tmp_path) is None
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS))
    assert read_metrics(tmp_path) == METRICS
    assert read_metrics(tmp_path / "model.safetensors") == METRICS
    assert read_metrics(tmp_path / "box.safetensors") is None


def test_a_later_evaluation_counts(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS))
    (tmp_path / "evaluation.json").write_text(json.dumps({"box": {"AP": 0.5}, "errors": {"box": {}}}))
    found = read_metrics(str(tmp_path))
    assert found == {**METRICS, "box": {"AP": 0.5}}
    (tmp_path / "metrics.json").unlink()
    assert read_metrics(tmp_path) == {"box": {"AP": 0.5}}


@pytest.mark.parametrize(("text", "message"), [("{", "is not JSON"), ("[]", "no metrics"), ('{"AP": 1}', "no metrics")])
def test_refuses_other_files(tmp_path, text, message):
    (tmp_path / "evaluation.json").write_text(text)
    with pytest.raises(ValueError, match=rf"evaluation.json.*{message}"):
        read_metrics(tmp_path)
