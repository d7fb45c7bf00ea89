"""Writes state dicts in the format of `torch.save`, without torch."""

from __future__ import annotations

import os
import pickle
import struct
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_mrcnn.base.atomic_files import atomic_write
from keras_mrcnn.weights.native import WeightsError
from keras_mrcnn.weights.torch_tensors import STORAGES

FOLDER = "archive"
FORMAT_VERSION = b"3\n"
ALIGNMENT = 64  # bytes; torch can then map the numbers into memory and use them in place
LOCAL_HEADER_BYTES, EXTRA_HEADER = 30, struct.Struct("<2sH")
STORAGE_OF = {form: name for name, form in STORAGES.items() if form != "untyped"}

EMPTY_ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def write_state_dict(path: str | os.PathLike, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes a dict of names to arrays as a state dict for `torch.load`; the file appears whole or not at all.

    Args:
        path: of the file; missing folders are made.
        tensors: arrays of types that torch has storages for, which excludes unsigned integers wider than uint8.

    Raises:
        WeightsError: torch has no storage for the type of an array.
        OSError: the file cannot be written.
    """
    arrays = {name: _contiguous(value) for name, value in tensors.items()}
    for name, value in arrays.items():
        if value.dtype.name not in STORAGE_OF:
            raise WeightsError(f"{path}: torch has no storage for {value.dtype.name}, which {name} holds")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        with zipfile.ZipFile(file, "w") as archive:
            _add(archive, "data.pkl", _state_dict_pickle(arrays))
            _add(archive, "byteorder", sys.byteorder.encode())
            for key, value in enumerate(arrays.values()):
                _add(archive, f"data/{key}", value.reshape(-1).view(np.uint8).data)
            _add(archive, "version", FORMAT_VERSION)
        file.flush()
        os.fsync(file.fileno())  # a power cut must not leave the name without the content


def _contiguous(value: np.ndarray) -> np.ndarray:
    """Returns an array in C order and in the byte order of this machine."""
    value = np.asarray(value)
    return np.asarray(value, value.dtype.newbyteorder("="), order="C")


def _add(archive: zipfile.ZipFile, name: str, content: bytes | memoryview) -> None:
    """Adds a member that begins at a multiple of `ALIGNMENT`; the extra field of its header fills the gap."""
    info = zipfile.ZipInfo(f"{FOLDER}/{name}")  # it is dated 1980, so that equal weights make equal files
    start = archive.fp.tell() + LOCAL_HEADER_BYTES + len(info.filename) + EXTRA_HEADER.size
    padding = -start % ALIGNMENT
    info.extra = EXTRA_HEADER.pack(b"FB", padding) + bytes(padding)
    archive.writestr(info, content)


def _state_dict_pickle(arrays: Mapping[str, np.ndarray]) -> bytes:
    items = b"".join(_plain(name) + _tensor(key, value) for key, (name, value) in enumerate(arrays.items()))
    return pickle.PROTO + b"\x02" + EMPTY_ORDERED_DICT + pickle.MARK + items + pickle.SETITEMS + pickle.STOP


def _tensor(key: int, value: np.ndarray) -> bytes:
    """Returns the instructions that make a tensor from storage, offset, sizes, strides, requires_grad and hooks."""
    strides = tuple(stride // value.itemsize for stride in value.strides)
    arguments = _storage(key, value) + _plain(0) + _plain(value.shape) + _plain(strides) + _plain(False)
    make = _global("torch._utils", "_rebuild_tensor_v2")
    return make + pickle.MARK + arguments + EMPTY_ORDERED_DICT + pickle.TUPLE + pickle.REDUCE


def _storage(key: int, value: np.ndarray) -> bytes:
    kind = _global("torch", STORAGE_OF[value.dtype.name])
    identity = _plain("storage") + kind + _plain(str(key)) + _plain("cpu") + _plain(value.size)
    return pickle.MARK + identity + pickle.TUPLE + pickle.BINPERSID


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _plain(value: object) -> bytes:
    """Returns the instructions that make a value: its pickle without the first two bytes and the last."""
    return pickle.dumps(value, protocol=2)[2:-1]
