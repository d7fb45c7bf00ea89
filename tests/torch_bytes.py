"""Files as torch writes them, put together byte by byte, so that they may hold what torch would never write."""

from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np

START, MARK, STOP = b"\x80\x02", b"(", b"."
ORDERED_DICT = b"ccollections\nOrderedDict\n)R"
LEGACY_START = b"".join(
    pickle.dumps(value, 2)
    for value in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True})
)


def plain(value):
    """Instructions that push plain data."""
    return pickle.dumps(value, 2)[2:-1]


def named(module, name):
    return b"c" + f"{module}\n{name}\n".encode()


def tuple_of(*parts):
    return MARK + b"".join(parts) + b"t"


def call(function, *arguments):
    return function + tuple_of(*arguments) + b"R"


def storage(key="0", count=4, kind="FloatStorage"):
    identity = tuple_of(plain("storage"), named("torch", kind), plain(key), plain("cpu"), plain(count))
    return identity + b"Q"


def tensor(shape=(4,), strides=(1,), offset=0, of=None):
    of = storage() if of is None else of
    arguments = (of, plain(offset), plain(shape), plain(strides), plain(False), ORDERED_DICT)
    return call(named("torch._utils", "_rebuild_tensor_v2"), *arguments)


def state_dict(*values, **items):
    """A whole pickle of a dict: of `items`, or of `values` named w0, w1, ..."""
    items = {**{f"w{index}": value for index, value in enumerate(values)}, **items}
    return START + b"}" + MARK + b"".join(plain(name) + value for name, value in items.items()) + b"u" + STOP


def zipped(content, storages=None, compression=zipfile.ZIP_STORED, **members):
    """A file of torch since 1.6: pickle, storages by key, and further members by the names in `members`."""
    storages = {"0": np.arange(4, dtype="<f4").tobytes()} if storages is None else storages
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
        for name, data in {"version": b"3\n", **members}.items():
            archive.writestr(f"archive/{name}", data)
    return file.getvalue()


def legacy(content, storages=None):
    """A file of torch before 1.6: the pickle, and by key the count of numbers and their bytes."""
    storages = {"0": (4, np.arange(4, dtype="<f4").tobytes())} if storages is None else storages
    tail = b"".join(count.to_bytes(8, "little") + data for count, data in storages.values())
    return LEGACY_START + content + pickle.dumps(list(storages), 2) + tail
