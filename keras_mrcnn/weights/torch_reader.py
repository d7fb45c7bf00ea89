"""Reads the files of `torch.save` without torch: a zip archive, or several pickles in a row as before torch 1.6."""

from __future__ import annotations

import mmap
import os
import struct
import zipfile
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np

from keras_mrcnn.weights.torch_pickle import ForeignObjectError, PickleError, PlainUnpickler, shortened
from keras_mrcnn.weights.torch_tensors import NAMES, Storage, Storages

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LOCAL_HEADER = struct.Struct("<4s22xHH")
BYTE_ORDERS = {b"little": "<", b"big": ">"}


def load(path: str | os.PathLike) -> object:
    """Reads a file that `torch.save` wrote.

    The file is mapped into memory, so numbers load when they are used.

    Args:
        path: of the file, in the zip format or in the one before torch 1.6.

    Returns:
        The saved value, made of None, numbers, strings, lists, tuples and dicts, with a `Tensor` for each tensor and an
        `Opaque` for each other harmless value.

    Raises:
        ForeignObjectError: the file asks for something else; nothing in it is run.
        PickleError: the file is torn, or is not one of torch.
        OSError: the file cannot be opened.
    """
    with open(path, "rb") as file:
        beginning = file.read(4)
        if not beginning:
            raise PickleError("it is empty")
        # The mapping lives as long as any array that is a view of it.
        data = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        return _load_zip(file, data) if beginning == b"PK\x03\x04" else _load_legacy(data)


def _load_zip(file: BinaryIO, data: np.ndarray) -> object:
    members = _members(file, len(data))
    folders = [name[: -len("data.pkl")] for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(folders) != 1:
        raise PickleError(f"it has {len(folders)} members data.pkl, not one")
    member = lambda name: _content(members, folders[0] + name, data)  # noqa: E731
    # Before torch 2.1 files did not state their byte order.
    byte_order = bytes(member("byteorder")) if f"{folders[0]}byteorder" in members else b"little"
    if byte_order not in BYTE_ORDERS:
        raise PickleError("its member byteorder is neither little nor big")
    storages = Storages(BYTE_ORDERS[byte_order])

    def load_storage(identity: object) -> Storage:
        key, storage = storages.of(identity)
        if storage.data is None:
            storage.data = member(f"data/{key}")
        if len(storage.data) != storage.count * storage.format.bytes:
            raise PickleError(f"its storage {shortened(key)} has {len(storage.data):,} bytes, not what its pickle says")
        return storage

    pickle = memoryview(member("data.pkl"))
    return PlainUnpickler(pickle, NAMES, load_storage).load()[0]


def _members(file: BinaryIO, length: int) -> dict[str, zipfile.ZipInfo]:
    """Returns the members of an archive by name."""
    try:
        infos = zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, ValueError, struct.error, NotImplementedError, OverflowError, OSError):
        raise PickleError("its zip directory is torn") from None
    members = {info.filename: info for info in infos}
    if len(members) < len(infos):
        raise PickleError("it has two members of one name")
    if sum(info.file_size for info in infos) > length:
        raise PickleError("its members are larger than the whole file")
    return members


def _content(members: Mapping[str, zipfile.ZipInfo], name: str, data: np.ndarray) -> np.ndarray:
    """Returns the bytes of a member, a part of the mapped file."""
    if name not in members:
        raise PickleError(f"it lacks the member {shortened(name)}")
    info = members[name]
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
        raise PickleError(f"its member {shortened(name)} is compressed or encrypted, which torch's never are")
    header = bytes(data[info.header_offset : info.header_offset + LOCAL_HEADER.size])
    if len(header) < LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
        raise PickleError(f"its member {shortened(name)} is not where its zip directory says")
    _, name_length, extra_length = LOCAL_HEADER.unpack(header)
    start = info.header_offset + LOCAL_HEADER.size + name_length + extra_length
    if start + info.file_size > len(data):
        raise PickleError(f"its member {shortened(name)} reaches beyond the end of the file")
    return data[start : start + info.file_size]


def _load_legacy(data: np.ndarray) -> object:
    """Reads four pickles (magic number, version, machine, content), the keys of the storages, and their bytes."""
    storages = Storages()
    unpickler = PlainUnpickler(memoryview(data), NAMES, lambda identity: storages.of(identity)[1])
    try:
        magic, end = unpickler.load()
    except ForeignObjectError:
        raise
    except PickleError:
        magic = None
    if magic != LEGACY_MAGIC:
        raise PickleError("it does not begin as they do")
    for _ in ("version", "machine"):
        _, end = unpickler.load(end)
    content, end = unpickler.load(end)
    keys, end = unpickler.load(end)
    if not isinstance(keys, list) or len(keys) != len(storages.by_key):
        raise PickleError("it lists other storages than its pickle asks for")
    for key in keys:
        end = _fill(storages.by_key.get(key) if isinstance(key, str) else None, data, end)
    return content


def _fill(storage: Storage | None, data: np.ndarray, start: int) -> int:
    """Gives a storage its bytes, which follow their count and are always little-endian; returns where they end."""
    if storage is None or storage.data is not None:
        raise PickleError("it lists other storages than its pickle asks for")
    end = start + 8 + storage.count * storage.format.bytes
    if end > len(data) or int.from_bytes(data[start : start + 8].tobytes(), "little") != storage.count:
        raise PickleError("a storage is cut off, or not of the size that its pickle says")
    storage.data = data[start + 8 : end]
    return end
