"""Writes state dicts as `torch.save` does, without torch."""

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
ALIGNMENT = 64  # bytes, of the numbers in the file, so that they can be used where they are
LOCAL_HEADER_BYTES, EXTRA_HEADER = 30, struct.Struct("<2sH")
STORAGE_OF = {form: name for name, form in STORAGES.items() if form != "untyped"}

EMPTY_ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def write_state_dict(path: str | os.PathLike, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes a dict of names to arrays as a state dict for `torch.load`; the file appears whole or not at all.

    Args:
        path: of the file; folders that are missing are made.
        tensors: arrays of the formats that torch has storages for, which are not the unsigned ones beyond uint8.

    Raises:
        WeightsError: torch has no storage for the format of an array.
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
        os.fsync(file.fileno())  # a name may outlive a power cut that its content does not


def _contiguous(value):
    value = np.asarray(value)
    return np.asarray(value, value.dtype.newbyteorder("="), order="C")


def _add(archive, name, content):
    """Adds a member that begins at a multiple of `ALIGNMENT`; the extra field of its header fills the gap."""
    info = zipfile.ZipInfo(f"{FOLDER}/{name}")  # of 1980, so that equal weights make equal files
    start = archive.fp.tell() + LOCAL_HEADER_BYTES + len(info.filename) + EXTRA_HEADER.size
    padding = -start % ALIGNMENT
    info.extra = EXTRA_HEADER.pack(b"FB", padding) + bytes(padding)
    archive.writestr(info, content)


def _state_dict_pickle(arrays):
    items = b"".join(_plain(name) + _tensor(key, value) for key, (name, value) in enumerate(arrays.items()))
    return pickle.PROTO + b"\x02" + EMPTY_ORDERED_DICT + pickle.MARK + items + pickle.SETITEMS + pickle.STOP


def _tensor(key, value):
    """Makes a tensor of storage, offset, sizes, strides, requires_grad and hooks."""
    strides = tuple(stride // value.itemsize for stride in value.strides)
    arguments = _storage(key, value) + _plain(0) + _plain(value.shape) + _plain(strides) + _plain(False)
    make = _global("torch._utils", "_rebuild_tensor_v2")
    return make + pickle.MARK + arguments + EMPTY_ORDERED_DICT + pickle.TUPLE + pickle.REDUCE


def _storage(key, value):
    kind = _global("torch", STORAGE_OF[value.dtype.name])
    identity = _plain("storage") + kind + _plain(str(key)) + _plain("cpu") + _plain(value.size)
    return pickle.MARK + identity + pickle.TUPLE + pickle.BINPERSID


def _global(module, name):
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _plain(value):
    """The instructions that make a value, which is all of its pickle but the first two bytes and the last."""
    return pickle.dumps(value, protocol=2)[2:-1]
