"""Reads the files of `torch.save` without torch: a zip archive, or several pickles in a row as before torch 1.6."""

from __future__ import annotations

import math
import mmap
import os
import struct
import zipfile
from dataclasses import dataclass

import numpy as np

from keras_mrcnn.weights.torch_pickle import ForeignObjectError, Opaque, PickleError, PlainUnpickler

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LOCAL_HEADER = struct.Struct("<4s22xHH")
MOST_DIMENSIONS = 32  # of an array of NumPy before 2.0
# Formats of numbers and how NumPy reads them; bfloat16 is the upper half of a float32.
FORMATS = {
    "float64": "f8", "float32": "f4", "float16": "f2", "bfloat16": "u2", "bool": "u1",
    "int64": "i8", "int32": "i4", "int16": "i2", "int8": "i1",
    "uint64": "u8", "uint32": "u4", "uint16": "u2", "uint8": "u1", "untyped": "u1",
}  # fmt: skip
# Bytes of numbers that are not read, so that a checkpoint may hold them beside the model.
OTHER_FORMATS = {
    "complex32": 4, "complex64": 8, "complex128": 16, "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1,
    "float8_e5m2fnuz": 1, "float8_e8m0fnu": 1, "float4_e2m1fn_x2": 1, "quint8": 1, "qint8": 1, "qint32": 4,
    "quint4x2": 1, "quint2x4": 1,
}  # fmt: skip
STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "storage.UntypedStorage": "untyped",
    "ComplexFloatStorage": "complex64", "ComplexDoubleStorage": "complex128", "QUInt8Storage": "quint8",
    "QInt8Storage": "qint8", "QInt32Storage": "qint32", "QUInt4x2Storage": "quint4x2", "QUInt2x4Storage": "quint2x4",
}  # fmt: skip
# What checkpoints hold beside a model, and tensors of other kinds. They are known by name alone.
KINDS = {
    "torch._utils._rebuild_sparse_tensor": "sparse tensor",
    "torch._utils._rebuild_qtensor": "quantized tensor",
    "torch._utils._rebuild_nested_tensor": "nested tensor",
    "torch._utils._rebuild_meta_tensor_no_storage": "meta tensor, which has no values",
    "torch.serialization._get_layout": "layout",
    "torch.device": "device",
    "argparse.Namespace": "Namespace",
    "collections.Counter": "Counter",
    "collections.defaultdict": "defaultdict",
    "builtins.dict": "dict type",
    "builtins.list": "list type",
    "builtins.int": "int type",
    "builtins.set": "set",
    "builtins.complex": "complex number",
    "builtins.bytearray": "bytearray",
    "_codecs.encode": "bytes",
    "numpy.dtype": "dtype of NumPy",
    "numpy.ndarray": "array of NumPy",
    "numpy.core.multiarray.scalar": "number of NumPy",
    "numpy._core.multiarray.scalar": "number of NumPy",
    "numpy.core.multiarray._reconstruct": "array of NumPy",
    "numpy._core.multiarray._reconstruct": "array of NumPy",
}


@dataclass(frozen=True)
class Format:
    """Format of numbers, by torch's name, such as "float32"."""

    name: str

    @property
    def bytes(self) -> int:
        """Bytes of a number."""
        return OTHER_FORMATS[self.name] if self.name in OTHER_FORMATS else np.dtype(FORMATS[self.name]).itemsize


@dataclass(eq=False)
class Storage:
    """Numbers that tensors are views of: `data` is uint8, one-dimensional, and a part of the mapped file."""

    format: Format
    count: int
    byte_order: str = "<"
    data: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Tensor:
    """View of a storage: offset and strides count numbers. Nothing is checked or read before `array`."""

    storage: Storage
    offset: int
    shape: tuple
    strides: tuple
    format: Format

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    def array(self) -> np.ndarray:
        """Returns the numbers; those of a float format as float32, others as they are.

        float32 and integers in the byte order of this machine stay in the mapped file, and cannot be written to.

        Raises:
            PickleError: the view reaches beyond its storage, or the format of its numbers is not read.
        """
        if self.format.name not in FORMATS:
            raise PickleError(f"holds {self.format.name} numbers, which are not read here; save them as float32")
        itemsize = self.format.bytes
        form = np.dtype(FORMATS[self.format.name]).newbyteorder(self.storage.byte_order)
        if self.size == 0:
            return _converted(_empty(self.shape, form), self.format)
        # Strides of sides of 1 lead nowhere and may be anything.
        strides = [stride if side > 1 else 0 for side, stride in zip(self.shape, self.strides)]
        last = self.offset + sum((side - 1) * stride for side, stride in zip(self.shape, strides))
        if last >= len(self.storage.data) // itemsize:
            raise PickleError("reaches beyond the end of its storage")
        data = self.storage.data[self.offset * itemsize : (last + 1) * itemsize].view(form)
        view = np.lib.stride_tricks.as_strided(data, self.shape, [stride * itemsize for stride in strides])
        return _converted(view, self.format)


def load(path: str | os.PathLike) -> object:
    """Reads what `torch.save` wrote: None, numbers, texts, lists, tuples, dicts, and a `Tensor` for each tensor.

    The file is mapped into memory, not read. Other harmless values are an `Opaque` each.

    Raises:
        ForeignObjectError: the file asks for something else; nothing in it is run.
        PickleError: the file is torn, or not torch's.
        OSError: the file cannot be opened.
    """
    with open(path, "rb") as file:
        beginning = file.read(4)
        if not beginning:
            raise PickleError("it is empty")
        # The mapping lives as long as an array that shows a part of it.
        data = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        return _load_zip(file, data) if beginning == b"PK\x03\x04" else _load_legacy(data)


def _load_zip(file, data):
    members = _members(file, len(data))
    folders = [name[: -len("data.pkl")] for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(folders) != 1:
        raise PickleError(f"it has {len(folders)} members data.pkl, not one")
    member = lambda name: _content(members, folders[0] + name, data)  # noqa: E731
    byte_order = bytes(member("byteorder")) if f"{folders[0]}byteorder" in members else b"little"
    if byte_order not in (b"little", b"big"):
        raise PickleError("its member byteorder is neither little nor big")
    storages = _Storages()

    def storage(identity):
        key, found = storages.of(identity)
        found.byte_order = "<" if byte_order == b"little" else ">"
        if found.data is None:
            found.data = member(f"data/{key}")
        if len(found.data) != found.count * found.format.bytes:
            raise PickleError(f"its storage {_shortened(key)} has {len(found.data):,} bytes, not what its pickle says")
        return found

    pickle = memoryview(member("data.pkl"))
    return PlainUnpickler(pickle, NAMES, storage).load()[0]


def _members(file, length):
    """Members of an archive by name."""
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


def _content(members, name, data):
    """The bytes of a member, a part of the mapped file."""
    if name not in members:
        raise PickleError(f"it lacks the member {_shortened(name)}")
    info = members[name]
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
        raise PickleError(f"its member {_shortened(name)} is compressed or encrypted, which torch's never are")
    header = bytes(data[info.header_offset : info.header_offset + LOCAL_HEADER.size])
    if len(header) < LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
        raise PickleError(f"its member {_shortened(name)} is not where its zip directory says")
    _, name_length, extra_length = LOCAL_HEADER.unpack(header)
    start = info.header_offset + LOCAL_HEADER.size + name_length + extra_length
    if start + info.file_size > len(data):
        raise PickleError(f"its member {_shortened(name)} reaches beyond the end of the file")
    return data[start : start + info.file_size]


def _load_legacy(data):
    """Four pickles (a magic number, a version, the machine, the content), the keys of the storages, and their bytes."""
    storages = _Storages()
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


def _fill(storage, data, start):
    """Gives a storage its bytes, which follow their count; returns where they end. They are little-endian always."""
    if storage is None or storage.data is not None:
        raise PickleError("it lists other storages than its pickle asks for")
    end = start + 8 + storage.count * storage.format.bytes
    if end > len(data) or int.from_bytes(data[start : start + 8].tobytes(), "little") != storage.count:
        raise PickleError("a storage is cut off, or not of the size that its pickle says")
    storage.data = data[start + 8 : end]
    return end


class _Storages:
    """The storages of a file by key, made of persistent ids."""

    def __init__(self):
        self.by_key = {}

    def of(self, identity):
        """(key, storage) of ("storage", type, key, device, count), to which the old format adds None."""
        if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
            raise PickleError("its pickle asks for a storage in a way that torch does not")
        _, form, key, _, count, *view = identity
        if type(form) is not Format or type(key) is not str or not _is_count(count) or view not in ([], [None]):
            raise PickleError("its pickle asks for a storage in a way that torch does not")
        storage = self.by_key.setdefault(key, Storage(form, count))
        if (storage.format, storage.count) != (form, count):
            raise PickleError(f"its storage {_shortened(key)} has two formats or sizes")
        return key, storage


def _tensor(storage, offset, shape, strides, *_, form=None):
    sides = (shape, strides, (offset,))
    if not isinstance(storage, Storage) or not all(type(s) is tuple and all(map(_is_count, s)) for s in sides):
        raise PickleError("its pickle makes a tensor of what is no storage, offset, sizes and strides")
    if len(shape) != len(strides) or len(shape) > MOST_DIMENSIONS:
        raise PickleError(f"its pickle makes a tensor of {len(shape)} sizes and {len(strides)} strides")
    return Tensor(storage, offset, shape, strides, form or storage.format)


def _tensor_of_format(storage, offset, shape, strides, requires_grad, hooks, form, *_):
    if type(form) is not Format:
        raise PickleError("its pickle makes a tensor of what is no format of numbers")
    return _tensor(storage, offset, shape, strides, form=form)


def _parameter(tensor, *_):
    if not isinstance(tensor, Tensor):
        raise PickleError("its pickle makes a parameter of what is no tensor")
    return tensor


def _tensor_with_attributes(make, kind, arguments, *_):
    if make not in (_tensor, _tensor_of_format, _parameter) or type(arguments) is not tuple:
        raise PickleError("its pickle makes a tensor of what is none")
    return make(*arguments)


def _size(sides):
    if type(sides) is not tuple:
        raise PickleError("its pickle makes a torch.Size of what is no tuple")
    return sides


def _opaque(kind):
    return lambda *_: Opaque(kind)


def _is_count(value):
    return type(value) is int and 0 <= value < 2**62


def _empty(shape, form):
    try:
        return np.empty(shape, form)
    except ValueError:
        raise PickleError("has sides that are too long") from None


def _converted(array, form):
    if form.name == "bfloat16":
        return np.left_shift(array, 16, dtype=np.uint32, out=np.empty(array.shape, np.uint32)).view(np.float32)
    if form.name == "bool":
        return np.not_equal(array, 0, out=np.empty(array.shape, bool))
    if not form.name.startswith("float"):
        return np.require(array, array.dtype.newbyteorder("="), "A")
    try:
        with np.errstate(over="raise", invalid="ignore"):
            return np.require(array, np.float32, "A")
    except FloatingPointError:
        raise PickleError("holds numbers that float32 cannot") from None


def _shortened(name):
    return ascii(name)[:100]


NAMES = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_format,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _tensor_with_attributes,
    "torch.Tensor": Opaque("tensor type"),
    "torch.nn.parameter.Parameter": Opaque("tensor type"),
    "torch.Size": _size,
    **{f"torch.{name}": Format(form) for name, form in STORAGES.items()},
    **{f"torch.{name}": Format(name) for name in (*FORMATS, *OTHER_FORMATS)},
    **{name: _opaque(kind) for name, kind in KINDS.items()},
    **{name.replace("builtins", "__builtin__"): _opaque(kind) for name, kind in KINDS.items() if "builtins" in name},
}
