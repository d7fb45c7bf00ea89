"""State dicts that we write are torch's: their bytes, what torch reads of them, and writes that fail."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from golden_inputs import uniform
from torch_python import run_torch, skip_without

from keras_mrcnn.weights import torch_files, torch_writer
from keras_mrcnn.weights.native import WeightsError

TENSORS = {
    "a": uniform("a", (2, 3)),
    "a.num_batches_tracked": np.array(7),
    "none": np.zeros((0, 4), np.float32),
    "half": np.array([1, 2.5], np.float16),
    "double": np.array(3.5),
    "bytes": np.arange(200, dtype=np.uint8),
    "true": np.array([True, False]),
    "transposed": uniform("b", (3, 5)).T,
    "strided": np.arange(20, dtype=np.int32)[::3],
    "big": np.arange(3, dtype=">i2"),
    "Größe": np.ones((2, 1, 2), np.int8),
}
IN_TORCH = """
import sys, collections, numpy, torch
state = torch.load(sys.argv[1], weights_only=True)
mapped = torch.load(sys.argv[1], weights_only=True, mmap=True)
assert type(state) is collections.OrderedDict
assert all(torch.equal(value, mapped[name]) and value.data_ptr() for name, value in state.items() if value.numel())
assert all(value.data_ptr() % 64 == 0 for value in mapped.values())
numpy.savez(sys.argv[2], **{f"{index} {name}": value.numpy() for index, (name, value) in enumerate(state.items())})
norm = torch.nn.BatchNorm1d(4)
norm.load_state_dict(torch.load(sys.argv[3], weights_only=True), strict=True)
sys.stdout.write(str(norm.running_var.tolist()))
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "new" / "model.pth"
    torch_writer.write_state_dict(path, TENSORS)
    return path


def assert_same(tensors, expected):
    assert list(tensors) == list(expected)
    for name, value in expected.items():
        value = value.astype(value.dtype.newbyteorder("="))
        assert tensors[name].dtype == value.dtype and tensors[name].shape == value.shape, name
        assert tensors[name].tobytes() == value.tobytes(), name


def test_there_and_back(path):
    torch_writer.write_state_dict(path, TENSORS)  # over a file that is there
    assert [file.name for file in path.parent.iterdir()] == ["model.pth"]
    single = {name: v.astype(np.float32) if v.dtype.kind == "f" else v for name, v in TENSORS.items()}
    assert_same(torch_files.read_state_dict(path), single)


def test_equal_weights_make_equal_files(path):
    content = path.read_bytes()
    torch_writer.write_state_dict(path, dict(TENSORS))
    assert path.read_bytes() == content


def test_numbers_begin_at_multiples_of_64_bytes(path):
    """So whoever maps the file can use them where they are."""
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        for index, (name, value) in enumerate(TENSORS.items()):
            info = archive.getinfo(f"archive/data/{index}")
            lengths = np.frombuffer(content, "<u2", 2, info.header_offset + 26)
            start = info.header_offset + 30 + int(lengths.sum())
            assert start % 64 == 0 and content[start : start + value.nbytes] == archive.read(info), name


def test_no_weights_at_all(tmp_path):
    torch_writer.write_state_dict(tmp_path / "model.pth", {})
    with pytest.raises(WeightsError, match="holds a dict, not a state dict"):
        torch_files.read_state_dict(tmp_path / "model.pth")


@pytest.mark.torchvision
def test_torch_reads_it_bit_for_bit(path, tmp_path):
    skip_without("torch")
    norm = {name: uniform(name, 4) for name in ("weight", "bias", "running_mean", "running_var")}
    torch_writer.write_state_dict(tmp_path / "norm.pth", norm)
    done = run_torch("-c", IN_TORCH, path, tmp_path / "read.npz", tmp_path / "norm.pth")
    assert done.returncode == 0, done.stderr
    assert done.stdout == str(norm["running_var"].tolist())
    with np.load(tmp_path / "read.npz") as file:
        assert_same({name.partition(" ")[2]: file[name] for name in file.files}, TENSORS)


def test_formats_that_torch_has_no_storage_for(tmp_path):
    for value in (np.zeros(2, np.uint16), np.array(["text"]), np.array([None])):
        with pytest.raises(WeightsError, match=r"model.pth: torch has no storage for \w+, which a holds"):
            torch_writer.write_state_dict(tmp_path / "model.pth", {"a": value})
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_old_file(path, monkeypatch):
    content, write = path.read_bytes(), zipfile.ZipFile.writestr

    def fail(archive, info, data):
        if info.filename.endswith("/1"):
            raise OSError("disk full")
        write(archive, info, data)

    monkeypatch.setattr(zipfile.ZipFile, "writestr", fail)
    with pytest.raises(OSError, match="disk full"):
        torch_writer.write_state_dict(path, {"a": np.zeros(1), "b": np.zeros(1)})
    assert path.read_bytes() == content and [file.name for file in path.parent.iterdir()] == ["model.pth"]
