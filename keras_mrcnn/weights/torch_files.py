"""Reads state dicts of torch, and brings their names to one spelling."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_mrcnn.weights import torch_reader
from keras_mrcnn.weights.native import WeightsError
from keras_mrcnn.weights.torch_pickle import ForeignObjectError, Opaque, PickleError, shortened
from keras_mrcnn.weights.torch_tensors import Tensor

SUFFIXES = (".pth", ".pt")
# Torch's files are zip archives or, before torch 1.6, pickles. These are their first bytes.
MAGIC = (b"PK\x03\x04", b"\x80")
# Keys under which training scripts keep the model beside the optimizer.
NESTED = ("model", "state_dict", "model_state_dict")
COUNTER = "num_batches_tracked"
# torchvision before 0.13 had no sequence around these convolutions.
OLD_SPELLINGS = (
    (re.compile(r"(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)"), r"\1.0.\2"),
    (re.compile(r"(rpn\.head\.conv)\.(weight|bias)"), r"\1.0.0.\2"),
)
OLD_MASK_CONVOLUTION = re.compile(r"roi_heads\.mask_head\.mask_fcn(\d+)\.(weight|bias)")


def is_torch_file(path: str | os.PathLike) -> bool:
    """Returns whether a file is one of torch, by its first bytes or its suffix, and not a safetensors file."""
    with open(path, "rb") as file:
        beginning = file.read(9)
    # Safetensors files begin with a length of eight arbitrary bytes and a brace.
    return beginning[8:] != b"{" and (beginning.startswith(MAGIC) or Path(path).suffix in SUFFIXES)


def read_state_dict(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the tensors of a file that `torch.save` wrote: a state dict, or a checkpoint that holds one under "model".

    This needs no torch and runs nothing in the file, which may ask for tensors and plain data only.

    Args:
        path: of the file, in the zip format or in the one before torch 1.6.

    Returns:
        dict of names to arrays; floating-point ones as float32, because NumPy has no bfloat16. Arrays that are float32
        in the file are mapped from it, so they are read-only and load when they are used.

    Raises:
        WeightsError: the file is torn, asks for other objects, or holds no state dict.
    """
    try:
        content = torch_reader.load(path)
    except ForeignObjectError as error:
        raise WeightsError(
            f"{path}: {error}, which is neither a tensor nor plain data; nothing in it was run; save the model's "
            "state_dict() alone"
        ) from None
    except PickleError as error:
        raise WeightsError(f"{path}: not a whole file of torch.save ({error}); have it saved again") from None
    for key in NESTED:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise WeightsError(f"{path}: holds {_kind(content)}, not a state dict; save model.state_dict()")
    _check_tensors(path, content)
    return {name: _array(path, name, value) for name, value in content.items()}


def respell(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renames tensors to the names of today's torchvision, whatever version or wrapper saved them."""
    if tensors and all(name.startswith("module.") for name in tensors):  # from DistributedDataParallel
        tensors = {name[len("module.") :]: value for name, value in tensors.items()}
    return {_respelt(name): value for name, value in tensors.items()}


def split_counters(
    tensors: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Splits a state dict into the weights and the counters of batches in torch's batch norms, which ours lack."""
    counters = {name: value for name, value in tensors.items() if name.rpartition(".")[2] == COUNTER}
    return {name: value for name, value in tensors.items() if name not in counters}, counters


def _respelt(name: str) -> str:
    for pattern, spelling in OLD_SPELLINGS:
        if pattern.fullmatch(name):
            return pattern.sub(spelling, name)
    match = OLD_MASK_CONVOLUTION.fullmatch(name)
    return f"roi_heads.mask_head.{int(match[1]) - 1}.0.{match[2]}" if match else name


def _check_tensors(path: str | os.PathLike, content: Mapping[object, object]) -> None:
    for name, value in content.items():
        if not isinstance(name, str):
            raise WeightsError(f"{path}: holds {name} as the name of a weight; save model.state_dict()")
        if not isinstance(value, Tensor):
            raise WeightsError(f"{path}: {shortened(name)} is {_kind(value)}, not a plain tensor")
    # Views and names may repeat the same numbers any number of times. This check keeps memory in proportion.
    if sum(value.size for value in content.values()) > os.path.getsize(path):
        raise WeightsError(f"{path}: its tensors have more numbers than the file has bytes; save them contiguous")


def _array(path: str | os.PathLike, name: str, tensor: Tensor) -> np.ndarray:
    try:
        return tensor.array()
    except PickleError as error:
        raise WeightsError(f"{path}: {shortened(name)} {error}") from None


def _kind(value: object) -> str:
    """Returns the kind of a value with its article."""
    kind = value.kind if isinstance(value, Opaque) else type(value).__name__
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
