"""Tensors in the pickles of torch: formats of numbers, storages, and views of storages."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_mrcnn.weights.torch_pickle import Opaque, PickleError, shortened

MOST_DIMENSIONS = 32  # of an array in NumPy before 2.0
# Formats of numbers and NumPy's types for them; bfloat16 is the upper half of a float32.
FORMATS = {
    "float64": "f8", "float32": "f4", "float16": "f2", "bfloat16": "u2", "bool": "u1",
    "int64": "i8", "int32": "i4", "int16": "i2", "int8": "i1",
    "uint64": "u8", "uint32": "u4", "uint16": "u2", "uint8": "u1", "untyped": "u1",
}  # fmt: skip
# Bytes per number of formats that are not read; a checkpoint may hold them beside the model.
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
# Other values that checkpoints hold beside a model, and tensors of other kinds; only their names matter.
KINDS = {
    "torch._utils._rebuild_sparse_tensor": "sparse tensor",
    "torch._utils._rebuild_qtensor": "quantized tensor",
    "torch._utils._rebuild_nested_tensor": "nested tensor",
    "torch._utils._rebuild_meta_tensor_no_storage": "meta tensor without values",
    "torch.per_tensor_affine": "kind of quantization",
    "torch.per_channel_affine": "kind of quantization",
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
    """Format of numbers, with torch's name for it, such as "float32"."""

    name: str

    @property
    def bytes(self) -> int:
        """Returns the bytes of one number."""
        return OTHER_FORMATS[self.name] if self.name in OTHER_FORMATS else np.dtype(FORMATS[self.name]).itemsize


@dataclass(eq=False)
class Storage:
    """Numbers of which tensors are views; `data` is a one-dimensional uint8 array, part of the mapped file."""

    format: Format
    count: int
    byte_order: str
    data: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Tensor:
    """View of a storage; offset and strides count numbers. Only `array` checks whether it fits the storage."""

    storage: Storage
    offset: int
    shape: tuple
    strides: tuple
    format: Format

    @property
    def size(self) -> int:
        """Returns the number of its elements."""
        return math.prod(self.shape)

    def array(self) -> np.ndarray:
        """Returns the tensor as an array; floating-point numbers become float32, others keep their type.

        Arrays of float32 and of integers in the byte order of this machine are read-only views of the mapped file.

        Raises:
            PickleError: the view reaches beyond its storage, or the format of its numbers is not supported.
        """
        if self.format.name not in FORMATS:
            raise PickleError(f"holds {self.format.name} numbers, which are not read here; save them as float32")
        itemsize = self.format.bytes
        form = np.dtype(FORMATS[self.format.name]).newbyteorder(self.storage.byte_order)
        if self.size == 0:
            return _converted(_empty(self.shape, form), self.format)
        # The stride of a side of length 1 has no effect and may be anything.
        strides = [stride if side > 1 else 0 for side, stride in zip(self.shape, self.strides)]
        last = self.offset + sum((side - 1) * stride for side, stride in zip(self.shape, strides))
        if last >= len(self.storage.data) // itemsize:
            raise PickleError("reaches beyond the end of its storage")
        data = self.storage.data[self.offset * itemsize : (last + 1) * itemsize].view(form)
        view = np.lib.stride_tricks.as_strided(data, self.shape, [stride * itemsize for stride in strides])
        return _converted(view, self.format)


class Storages:
    """The storages of a file by key, made from persistent ids."""

    def __init__(self, byte_order: str = "<"):
        self.byte_order = byte_order
        self.by_key: dict[str, Storage] = {}

    def of(self, identity: object) -> tuple[str, Storage]:
        """Returns the key and the storage of a persistent id.

        Args:
            identity: ("storage", type, key, device, count), followed by None in the format before torch 1.6.

        Raises:
            PickleError: it is no such id, or its storage had another format or size before.
        """
        if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
            raise PickleError("its pickle asks for a storage in a way that torch does not")
        _, form, key, _, count, *view = identity
        if type(form) is not Format or type(key) is not str or not _is_count(count) or view not in ([], [None]):
            raise PickleError("its pickle asks for a storage in a way that torch does not")
        storage = self.by_key.setdefault(key, Storage(form, count, self.byte_order))
        if (storage.format, storage.count) != (form, count):
            raise PickleError(f"its storage {shortened(key)} has two formats or sizes")
        return key, storage


def _tensor(
    storage: object, offset: object, shape: object, strides: object, *_: object, form: Format | None = None
) -> Tensor:
    if not isinstance(storage, Storage) or type(shape) is not tuple or type(strides) is not tuple:
        raise PickleError("its pickle makes a tensor of what is no storage, sizes and strides")
    if len(shape) != len(strides) or len(shape) > MOST_DIMENSIONS:
        raise PickleError(f"its pickle makes a tensor of {len(shape)} sizes and {len(strides)} strides")
    if not all(map(_is_count, (offset, *shape, *strides))):
        raise PickleError("its pickle makes a tensor with an offset, a size or a stride that is no count")
    return Tensor(storage, offset, shape, strides, form or storage.format)


def _tensor_of_format(
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    requires_grad: object,
    hooks: object,
    form: object,
    *_: object,
) -> Tensor:
    if type(form) is not Format:
        raise PickleError("its pickle makes a tensor of what is no format of numbers")
    return _tensor(storage, offset, shape, strides, form=form)


def _parameter(tensor: object, *_: object) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise PickleError("its pickle makes a parameter of what is no tensor")
    return tensor


def _tensor_with_attributes(make: object, kind: object, arguments: object, *_: object) -> Tensor:
    if make not in (_tensor, _tensor_of_format, _parameter) or type(arguments) is not tuple or len(arguments) > 9:
        raise PickleError("its pickle makes a tensor of what is none")
    return make(*arguments)


def _size(sides: object) -> tuple:
    if type(sides) is not tuple:
        raise PickleError("its pickle makes a torch.Size of what is no tuple")
    return sides


def _opaque(kind: str) -> Callable[..., Opaque]:
    return lambda *_: Opaque(kind)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _empty(shape: tuple, form: np.dtype) -> np.ndarray:
    try:
        return np.empty(shape, form)
    except ValueError:
        raise PickleError("has sides that are too long") from None


def _converted(array: np.ndarray, form: Format) -> np.ndarray:
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
