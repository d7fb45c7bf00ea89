"""Safetensors files: there and back, whole or not at all, and what keeps tensors from fitting a model."""

from __future__ import annotations

import json
import os
import stat
import struct

import numpy as np
import pytest
from golden_inputs import uniform
from small_models import fill, small_config

from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.weights import native
from keras_mrcnn.weights.names import named_weights

TENSORS = {"weight": uniform("weight", (2, 3)), "counter": np.array(7), "half": np.float16([0.5])}


@pytest.fixture(scope="module")
def model():
    return fill(MaskRCNN(small_config()))


def test_there_and_back(tmp_path):
    path = tmp_path / "new" / "a.safetensors"
    for _ in range(2):
        native.write_safetensors(path, TENSORS, {"note": "ä"})
        tensors, metadata = native.read_safetensors(path)
        assert metadata == {"note": "ä"} and tensors.keys() == TENSORS.keys()
        for name, value in TENSORS.items():
            assert tensors[name].dtype == value.dtype
            np.testing.assert_array_equal(tensors[name], value)
        assert [file.name for file in path.parent.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_may_be_read_by_whom_the_umask_says(tmp_path, mask):
    before = os.umask(mask)
    try:
        native.write_safetensors(tmp_path / "a.safetensors", TENSORS, {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.safetensors").stat().st_mode) == 0o666 & ~mask


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    def fail(descriptor):
        os.ftruncate(descriptor, 4)
        raise OSError("disk full")

    path = tmp_path / "a.safetensors"
    native.write_safetensors(path, TENSORS, {})
    content = path.read_bytes()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        native.write_safetensors(path, {}, {})
    assert path.read_bytes() == content and [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_missing_and_torn_files(tmp_path):
    path = tmp_path / "a.safetensors"
    native.write_safetensors(path, TENSORS, {})
    whole = path.read_bytes()
    cases = [(whole[:length], "not a whole safetensors file") for length in (0, 7, 8, 9, 50, len(whole) - 1)]
    cases += [(content, "not a whole safetensors file") for content in (b"not weights", b"\x80\x04cos\nsystem\n.")]
    for content, message in [(None, "no such file"), *cases]:
        path.unlink() if content is None else path.write_bytes(content)
        with pytest.raises(native.WeightsError, match=message) as caught:
            native.read_safetensors(path)
        assert path.name in str(caught.value) and "\n" not in str(caught.value)


def test_number_formats_that_numpy_lacks(tmp_path):
    header = json.dumps({"a": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(2))
    with pytest.raises(native.WeightsError, match=r"a.safetensors: .*save it as float32"):
        native.read_safetensors(path)


def test_values_of_a_model_are_in_torchs_layout(model):
    values = native.named_values(model)
    assert values["roi_heads.box_predictor.bbox_pred.weight"].shape == (12, 16)
    kernel = model.box_head.deltas.kernel.numpy()
    np.testing.assert_array_equal(values["roi_heads.box_predictor.bbox_pred.weight"], kernel.T)
    assert all(value.flags.c_contiguous and value.dtype == np.float32 for value in values.values())


def test_assigned_values_come_out_again(model):
    before = native.named_values(model)
    for factor in (2, 1):
        native.assign_weights(model, {name: factor * value for name, value in before.items()}, "here")
        for name, value in native.named_values(model).items():
            np.testing.assert_array_equal(value, factor * before[name], err_msg=name)


NAME = "backbone.body.bn1.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("rpn.head.cls_logits.bias"), "lacks 1 weights .*, first rpn.head.cls_logits.bias"),
        (lambda tensors: tensors.update(extra=np.zeros(1)), "holds 1 weights .* does not have, first extra"),
        (lambda tensors: tensors.update({NAME: np.zeros(9)}), r"bn1.weight has shape \(9,\), the model's is \(8,\)"),
        (lambda tensors: tensors.update({NAME: np.zeros(8, int)}), "bn1.weight holds int64, no floating-point"),
        (lambda tensors: tensors.update({NAME: np.zeros(8, complex)}), "bn1.weight holds complex128"),
        (lambda tensors: tensors.clear(), "lacks .* weights of the model, first backbone.body.bn1.bias"),
    ],
)
def test_what_does_not_fit_changes_nothing(model, change, message):
    before, tensors = native.named_values(model), {k: v + 1 for k, v in native.named_values(model).items()}
    change(tensors)
    assert native.fit_faults(named_weights(model), before) == ""
    with pytest.raises(native.WeightsError, match=message) as caught:
        native.assign_weights(model, tensors, "here")
    assert str(caught.value).startswith("here: ")
    for name, value in native.named_values(model).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)
