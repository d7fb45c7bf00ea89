"""State dicts of torch: spellings, counters, what is torch's to read, and files that are refused without being run."""

from __future__ import annotations

import os
import pickle
import struct
import sys

import numpy as np
import pytest
from golden_inputs import uniform
from safetensors.numpy import load_file, save_file
from state_dicts import mask_rcnn_shapes, old_spelling

from keras_mrcnn.weights import torch_files
from keras_mrcnn.weights.native import WeightsError


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


class Hostile:
    """Makes a folder when it is unpickled by something that runs what pickles say."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("backbone.fpn.inner_blocks.0.weight", "backbone.fpn.inner_blocks.0.0.weight"),
        ("backbone.fpn.layer_blocks.3.bias", "backbone.fpn.layer_blocks.3.0.bias"),
        ("rpn.head.conv.weight", "rpn.head.conv.0.0.weight"),
        ("roi_heads.mask_head.mask_fcn1.weight", "roi_heads.mask_head.0.0.weight"),
        ("roi_heads.mask_head.mask_fcn4.bias", "roi_heads.mask_head.3.0.bias"),
    ],
)
def test_old_names(old, new):
    assert torch_files.respell({old: 1}) == {new: 1}
    assert torch_files.respell({new: 2}) == {new: 2}
    assert torch_files.respell({f"module.{old}": 3}) == {new: 3}


def test_a_whole_model_in_its_old_spelling():
    new = mask_rcnn_shapes(mask_convs=4)
    old = old_spelling(new)
    assert len(old.keys() - new.keys()) == 2 * (4 + 4 + 1 + 4) and len(old) == len(new)
    assert torch_files.respell(old) == new


@pytest.mark.parametrize("v2", [False, True])
def test_names_of_today_stay(v2):
    names = mask_rcnn_shapes(v2=v2)
    assert torch_files.respell(names) == names
    assert torch_files.respell({}) == {}


def test_only_a_prefix_of_all_names_is_a_wrapper():
    names = {"module.conv1.weight": 1, "conv1.weight": 2}
    assert torch_files.respell(names) == names


def test_counters_are_apart():
    tensors = {"bn1.num_batches_tracked": 1, "num_batches_tracked": 2, "bn1.weight": 3, "num_batches_tracked.x": 4}
    weights, counters = torch_files.split_counters(tensors)
    assert weights == {"bn1.weight": 3, "num_batches_tracked.x": 4}
    assert counters == {"bn1.num_batches_tracked": 1, "num_batches_tracked": 2}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.pth", b"PK\x03\x04", True),
        ("a.bin", b"PK\x03\x04 and more", True),
        ("a.safetensors", b"\x80\x02\x8a\nl\xfc\x9cF\xf9", True),
        ("a.pkl", b"\x80\x04cos\nsystem\n.", True),
        ("a.pt", b"", True),
        ("a.pth", b"<!DOCTYPE html>", True),
        ("a.safetensors", b"", False),
        ("a.safetensors", b"<!DOCTYPE html>", False),
        ("a.pth", b'\x10\0\0\0\0\0\0\0{"a":', False),
    ],
)
def test_content_decides_before_the_name(name, content, expected, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert torch_files.is_torch_file(tmp_path / name) is expected


def test_safetensors_whose_length_looks_like_a_pickle(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": np.ones(3, np.float32)}, path, {"note": ""})
    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    save_file({"a": np.ones(3, np.float32)}, path, {"note": "x" * (640 - length)})
    assert path.read_bytes()[:2] == b"\x80\x02" and load_file(path)["a"].tolist() == [1, 1, 1]
    assert not torch_files.is_torch_file(path)


def test_without_torch_one_sentence_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    path = tmp_path / "model.pth"
    path.write_bytes(b"PK\x03\x04")
    for use in (torch_files.read_state_dict, lambda path: torch_files.write_state_dict(path, {})):
        with pytest.raises(WeightsError, match=r"model.pth: .* needs torch: pip install '.*\[torch\]'") as caught:
            use(path)
        assert "\n" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["model.pth"]


def refused(path, message):
    with pytest.raises(WeightsError, match=message) as caught:
        torch_files.read_state_dict(path)
    assert path.name in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.torchvision
def test_there_and_back(torch, tmp_path):
    tensors = {"a": uniform("a", (2, 3)), "a.num_batches_tracked": np.array(7), "none": np.zeros((0, 4), np.float32)}
    path = tmp_path / "new" / "model.pth"
    torch_files.write_state_dict(path, tensors)
    torch_files.write_state_dict(path, tensors)
    assert [file.name for file in path.parent.iterdir()] == ["model.pth"]
    state = torch.load(path, weights_only=True)
    assert list(state) == list(tensors) and state["a.num_batches_tracked"].dtype == torch.int64
    again = torch_files.read_state_dict(path)
    for name, value in tensors.items():
        assert again[name].dtype == value.dtype
        np.testing.assert_array_equal(again[name], value)


@pytest.mark.torchvision
def test_a_write_that_fails_leaves_the_old_file(torch, tmp_path, monkeypatch):
    def fail(state, path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    path = tmp_path / "model.pth"
    torch_files.write_state_dict(path, {"a": np.ones(1)})
    content = path.read_bytes()
    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        torch_files.write_state_dict(path, {"a": np.zeros(1)})
    assert path.read_bytes() == content and [file.name for file in tmp_path.iterdir()] == ["model.pth"]


@pytest.mark.torchvision
@pytest.mark.parametrize("key", [None, "model", "state_dict", "model_state_dict"])
def test_what_torch_saves_in_its_many_ways(torch, key, tmp_path):
    values = torch.tensor([[1.0, -2.5], [0.0, 3.0]])
    state = {
        "single": values,
        "double": values.double(),
        "half": values.half(),
        "bfloat16": values.bfloat16(),
        "parameter": torch.nn.Parameter(values),
        "transposed": values.T,
        "counter": torch.tensor(3),
    }
    path = tmp_path / "model.pth"
    torch.save(state if key is None else {"epoch": 3, key: state, "lr": 0.1}, path)
    tensors = torch_files.read_state_dict(path)
    assert list(tensors) == list(state)
    assert tensors["counter"].dtype == np.int64 and tensors["counter"] == 3
    np.testing.assert_array_equal(tensors["transposed"], values.numpy().T)
    for name in ("single", "double", "half", "bfloat16", "parameter"):
        assert tensors[name].dtype == np.float32
        np.testing.assert_array_equal(tensors[name], values.numpy())


@pytest.mark.torchvision
def test_files_of_torch_before_1_6(torch, tmp_path):
    path = tmp_path / "old.pth"
    torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    assert torch_files.is_torch_file(path) and torch_files.read_state_dict(path)["a"].tolist() == [1, 1, 1]


@pytest.mark.torchvision
@pytest.mark.parametrize("protocol", ["zip", "before 1.6", 0, 2, 3, 4, 5])
def test_code_in_a_file_does_not_run(torch, protocol, tmp_path):
    path, folder = tmp_path / "hostile.pth", tmp_path / "made by the file"
    content = {"model": {"a": torch.ones(3), "b": Hostile(folder)}}
    if isinstance(protocol, str):
        torch.save(content, path, _use_new_zipfile_serialization=protocol == "zip")
    else:
        path.write_bytes(pickle.dumps(Hostile(folder), protocol))
        pickle.loads(path.read_bytes())
        assert folder.is_dir()  # so the test could fail
        folder.rmdir()
    message = refused(path, "nothing in it was run")
    assert not folder.exists() and "weights_only" not in message


@pytest.mark.torchvision
def test_a_pickled_model_is_refused(torch, tmp_path):
    path = tmp_path / "model.pth"
    torch.save(torch.nn.Linear(2, 2), path)
    refused(path, r"asks for torch.nn.modules.linear.Linear.*save the model's state_dict\(\)")


@pytest.mark.torchvision
@pytest.mark.parametrize("zipped", [True, False])
def test_torn_files(torch, zipped, tmp_path):
    whole, torn = tmp_path / "whole.pth", tmp_path / "torn.pth"
    torch.save({"a": torch.ones(100)}, whole, _use_new_zipfile_serialization=zipped)
    content = whole.read_bytes()
    for length in (0, 1, 3, 4, 9, 50, len(content) // 2, len(content) - 1):
        torn.write_bytes(content[:length])
        refused(torn, "torch does not load it")


@pytest.mark.torchvision
def test_other_contents(torch, tmp_path):
    path = tmp_path / "other.pth"
    for content, message in (
        (torch.ones(3), "holds a Tensor, not a state dict"),
        ({}, "holds a dict, not a state dict"),
        ({"model": {}}, "holds a dict, not a state dict"),
        ([torch.ones(3)], "holds a list"),
        ({"epoch": 3}, "epoch is a int, not a plain tensor"),
        ({"a": {"b": torch.ones(3)}}, "a is a dict, not a plain tensor"),
        ({"a": torch.eye(2).to_sparse()}, "a is a Tensor, not a plain tensor"),
    ):
        torch.save(content, path)
        refused(path, message)
