"""State dicts of torch: spellings, counters, what is torch's to read, and files that torch itself wrote."""

from __future__ import annotations

import builtins
import pickle
import struct
import sys

import golden_torch_files as golden
import numpy as np
import pytest
from golden_inputs import FOLDER
from safetensors.numpy import load_file, save_file
from state_dicts import mask_rcnn_shapes, old_spelling
from torch_bytes import START, STOP, call, legacy, named, plain, state_dict, storage, tensor, zipped
from torch_python import run_torch, skip_without

from keras_mrcnn.weights import torch_files
from keras_mrcnn.weights.native import WeightsError


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


def refused(path, message):
    with pytest.raises(WeightsError, match=message) as caught:
        torch_files.read_state_dict(path)
    assert path.name in str(caught.value) and "\n" not in str(caught.value)


def read(content, tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    return torch_files.read_state_dict(path)


def assert_same(tensors, expected):
    assert list(tensors) == list(expected)
    for name, value in expected.items():
        assert tensors[name].dtype == value.dtype and tensors[name].shape == value.shape, name
        np.testing.assert_array_equal(tensors[name], value, err_msg=name)


# Files of torch itself.


def golden_values(name):
    if name == "checkpoint":
        with np.load(FOLDER / "torch_checkpoint.npz") as file:
            return dict(file)
    return golden.formats() if name == "formats" else golden.views()


@pytest.mark.parametrize("name", ["formats", "views", "legacy", "checkpoint"])
def test_files_that_torch_wrote(name):
    path = FOLDER / f"torch_{name}.pth"
    assert torch_files.is_torch_file(path)
    assert_same(torch_files.read_state_dict(path), golden_values(name))


@pytest.mark.torchvision
def test_files_that_torch_writes_now(tmp_path):
    skip_without("torch")
    done = run_torch(FOLDER.parents[1] / "scripts" / "make_golden_torch_files.py", tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("formats", "views", "legacy"):
        assert_same(torch_files.read_state_dict(tmp_path / f"torch_{name}.pth"), golden_values(name))
    with np.load(tmp_path / "torch_checkpoint.npz") as file:
        assert_same(torch_files.read_state_dict(tmp_path / "torch_checkpoint.pth"), dict(file))


def test_reading_asks_for_no_torch(monkeypatch):
    """Nor for anything else that the file names."""
    asked, real_import = [], builtins.__import__
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(builtins, "__import__", lambda name, *args: asked.append(name) or real_import(name, *args))
    torch_files.read_state_dict(FOLDER / "torch_checkpoint.pth")
    assert not {"torch", "argparse"} & {name.partition(".")[0] for name in asked}


def test_float32_stays_in_the_file():
    """What is mapped is shared: two names of one storage, read once, and nobody can change it by mistake."""
    tensors = torch_files.read_state_dict(FOLDER / "torch_views.pth")
    assert np.shares_memory(tensors["whole"], tensors["transposed"])
    assert not tensors["whole"].flags.writeable and tensors["whole"].flags.aligned


# Files that torch writes elsewhere, put together here.


@pytest.mark.parametrize(("order", "sign"), [(b"little", "<"), (b"big", ">"), (None, "<")])
def test_byte_orders(order, sign, tmp_path):
    kinds = {
        "DoubleStorage": "f8",
        "FloatStorage": "f4",
        "HalfStorage": "f2",
        "LongStorage": "i8",
        "ShortStorage": "i2",
    }
    values = {kind: np.array([1, -2, 3, 100], sign + form) for kind, form in kinds.items()}
    pickled = state_dict(**{kind: tensor(of=storage(kind, kind=kind)) for kind in kinds}, b=tensor(
        of=storage("b", kind="BFloat16Storage")))  # fmt: skip
    halves = np.array([0x3F80, 0xC000, 0x4040, 0x42C8], sign + "u2")  # the upper halves of the same numbers
    storages = {**{kind: value.tobytes() for kind, value in values.items()}, "b": halves.tobytes()}
    tensors = read(zipped(pickled, storages, **({"byteorder": order} if order else {})), tmp_path)
    for name, value in tensors.items():
        assert value.dtype.isnative and value.tolist() == [1, -2, 3, 100], name


@pytest.mark.parametrize("key", [None, "model", "state_dict", "model_state_dict"])
def test_checkpoints_hold_the_model_under_a_key(key, tmp_path):
    state = state_dict(a=tensor())
    content = state if key is None else state_dict(epoch=plain(3), **{key: state[2:-1]}, lr=plain(0.1))
    assert read(zipped(content), tmp_path)["a"].tolist() == [0, 1, 2, 3]


def test_a_state_dict_of_python_2(tmp_path):
    """There an OrderedDict was made of a list of pairs, and a name was of bytes."""
    pair = b"]" + b"(" + b"U\x01a" + tensor() + b"e"
    content = START + call(named("collections", "OrderedDict"), b"](" + pair + b"e") + STOP
    assert read(legacy(content), tmp_path)["a"].tolist() == [0, 1, 2, 3]


def test_protocols_since_4(tmp_path):
    """torch writes protocol 2 unless told otherwise."""
    make = plain("torch._utils") + plain("_rebuild_parameter") + b"\x93\x94"
    content = b"\x80\x04\x95" + struct.pack("<Q", 9) + state_dict(a=call(make, tensor(), plain(True)))[2:]
    assert read(zipped(content), tmp_path)["a"].tolist() == [0, 1, 2, 3]


def test_tensors_with_attributes_are_tensors(tmp_path):
    inner = tensor()[len(named("torch._utils", "_rebuild_tensor_v2")) : -1]
    make = named("torch._utils", "_rebuild_tensor_v2"), named("torch", "Tensor"), inner, plain({"note": 1})
    content = state_dict(a=call(named("torch._tensor", "_rebuild_from_type_v2"), *make))
    assert read(zipped(content), tmp_path)["a"].tolist() == [0, 1, 2, 3]


def test_unused_bytes_of_true_are_true(tmp_path):
    content = zipped(state_dict(a=tensor(of=storage(kind="BoolStorage"))), {"0": b"\x00\x01\x02\xff"})
    assert read(content, tmp_path)["a"].tolist() == [False, True, True, True]


# Files that are refused; test_hostile_torch_files.py has those that mean harm.


@pytest.mark.parametrize("name", ["views", "legacy"])
def test_torn_files(name, tmp_path):
    content, torn = (FOLDER / f"torch_{name}.pth").read_bytes(), tmp_path / "torn.pth"
    for length in (0, 1, 3, 4, 9, 50, len(content) // 2, len(content) - 1):
        torn.write_bytes(content[:length])
        refused(torn, "not a whole file of torch.save")


def test_files_of_other_kinds(tmp_path):
    path = tmp_path / "model.pth"
    for content in (
        b"<!DOCTYPE html>",
        b"version https://git-lfs",
        pickle.dumps({"a": 1}),
        pickle.dumps(1),
        bytes(100),
    ):
        path.write_bytes(content)
        refused(path, "not a whole file of torch.save")


def test_a_pickled_model_is_refused(tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(zipped(START + named("torch.nn.modules.linear", "Linear") + b")\x81}b" + STOP))
    refused(path, r"asks for torch.nn.modules.linear.Linear.*nothing in it was run.*save the model's state_dict\(\)")


NAMESPACE = named("argparse", "Namespace") + b")\x81" + plain({"lr": 0.1}) + b"b"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (START + tensor() + STOP, "holds a Tensor, not a state dict"),
        (state_dict(), "holds a dict, not a state dict"),
        (state_dict(model=plain({})), "holds a dict, not a state dict|model is a dict"),
        (START + b"](" + tensor() + b"e" + STOP, "holds a list, not a state dict"),
        (state_dict(epoch=plain(3)), "epoch is an int, not a plain tensor"),
        (state_dict(a=state_dict(b=tensor())[2:-1]), "a is a dict, not a plain tensor"),
        (state_dict(a=NAMESPACE), "a is a Namespace, not a plain tensor"),
        (state_dict(a=call(named("torch._utils", "_rebuild_sparse_tensor"))), "a is a sparse tensor, not a plain"),
        (
            state_dict(a=tensor(of=storage(count=2, kind="ComplexFloatStorage"), shape=(2,))),
            "a holds complex64 numbers",
        ),
    ],
)
def test_other_contents(content, message, tmp_path):
    path = tmp_path / "other.pth"
    path.write_bytes(zipped(content))
    refused(path, message)


def test_numbers_beyond_float32_are_refused(tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(
        zipped(
            state_dict(a=tensor((1,), of=storage(count=1, kind="DoubleStorage"))), {"0": np.float64(1e300).tobytes()}
        )
    )
    refused(path, "a holds numbers that float32 cannot")
