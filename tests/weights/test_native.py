"""Our weight file: round trip, config inside, and refusals that leave the model as it was."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from small_models import fill, inputs, small_config

from keras_mrcnn.models.mask_rcnn import MaskRCNN
from keras_mrcnn.weights import native
from keras_mrcnn.weights.names import named_weights


@pytest.fixture(scope="module")
def model():
    return fill(MaskRCNN(small_config()))


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "new" / "model.safetensors"
    native.save_weights(model, path)
    return path


def values(model):
    return {name: entry.variable.numpy() for name, entry in named_weights(model).items()}


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def test_a_model_is_built_from_the_file_alone(model, path):
    again = native.load_weights(path)
    assert again.config == model.config
    assert_same(values(again), values(model))
    for name, value in model(inputs()).items():
        np.testing.assert_allclose(again(inputs())[name], value, atol=1e-5)


def test_a_given_model_is_filled(model, path):
    other = MaskRCNN(small_config())
    assert native.load_weights(path, other) is other
    assert_same(values(other), values(model))


def test_saving_twice_gives_the_same_bytes_and_leaves_nothing_behind(model, path):
    content = path.read_bytes()
    native.save_weights(model, path)
    assert path.read_bytes() == content
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_file_holds_torchvisions_names_and_the_config(model, path):
    tensors, metadata = native.read_safetensors(path)
    assert list(tensors["roi_heads.box_predictor.bbox_pred.weight"].shape) == [12, 16]
    assert json.loads(metadata["config"])["class_names"] == ["a", "b"]


def refused(path, message, model=None):
    before = None if model is None else values(model)
    with pytest.raises(native.WeightsError, match=message) as caught:
        native.load_weights(path, model)
    assert path.name in str(caught.value) and "\n" not in str(caught.value)
    if model is not None:
        assert_same(values(model), before)


def test_missing_and_broken_files(path, tmp_path):
    refused(tmp_path / "nowhere.safetensors", "no such file")
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(path.read_bytes()[:-100])
    refused(truncated, "not a whole safetensors file")
    for content in (b"", b"not weights", b"\x80\x04cos\nsystem\n."):
        other = tmp_path / "other.safetensors"
        other.write_bytes(content)
        refused(other, "not a whole safetensors file")


def changed(path, tmp_path, change, metadata=None):
    tensors, old = native.read_safetensors(path)
    change(tensors)
    new = tmp_path / "changed.safetensors"
    save_file(tensors, new, old if metadata is None else metadata)
    return new


def test_files_that_do_not_fit_leave_the_model_as_it_was(path, tmp_path):
    other = MaskRCNN(small_config())
    wrong = {"backbone.body.bn1.weight": np.zeros(9, np.float32)}
    for change, message in (
        (lambda tensors: tensors.pop("rpn.head.conv.0.0.bias"), "lacks 1 .*rpn.head.conv.0.0.bias"),
        (lambda tensors: tensors.update(extra=np.zeros(1)), "holds 1 .*first extra"),
        (lambda tensors: tensors.update(wrong), r"bn1.weight has shape \(9,\), the model's is \(8,\)"),
    ):
        refused(changed(path, tmp_path, change), message, other)


@pytest.mark.parametrize(
    ("config", "message"),
    [(None, "has no config"), ("{", "config cannot be used"), ('{"depth": 3}', "config cannot be used")],
)
def test_files_without_a_usable_config(config, message, path, tmp_path):
    metadata = {"note": "x"} if config is None else {"config": config}
    refused(changed(path, tmp_path, lambda t: None, metadata), message)
    if config is None:
        native.load_weights(tmp_path / "changed.safetensors", MaskRCNN(small_config()))
