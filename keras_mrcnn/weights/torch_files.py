"""State dicts of torch: reading their files, and the spelling of their names."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from keras_mrcnn.weights import torch_reader
from keras_mrcnn.weights.native import WeightsError
from keras_mrcnn.weights.torch_pickle import ForeignObjectError, Opaque, PickleError, shortened
from keras_mrcnn.weights.torch_tensors import Tensor

SUFFIXES = (".pth", ".pt")
# What torch's files begin with: a zip archive, or a pickle, as before torch 1.6.
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


def is_torch_file(path):
    """Whether a file is torch's to read: begins as torch's files do or is called so, and is no safetensors file."""
    with open(path, "rb") as file:
        beginning = file.read(9)
    # Safetensors files begin with a length, eight bytes that may look like anything, and a brace.
    return beginning[8:] != b"{" and (beginning.startswith(MAGIC) or Path(path).suffix in SUFFIXES)


def read_state_dict(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the tensors of a file that `torch.save` wrote: a state dict, or a checkpoint that holds one under "model".

    torch is not needed, and nothing in the file is run: it may ask for tensors and for plain data.

    Args:
        path: of the file, in the zip format or in the one before torch 1.6.

    Returns:
        dict of names to arrays; floating-point ones as float32, for NumPy itself has no bfloat16. Those that are
        float32 in the file stay there until they are used, and cannot be written to.

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


def respell(tensors):
    """The tensors under the names of today's torchvision, whatever version or wrapper saved them."""
    if tensors and all(name.startswith("module.") for name in tensors):  # from DistributedDataParallel
        tensors = {name[len("module.") :]: value for name, value in tensors.items()}
    return {_respelt(name): value for name, value in tensors.items()}


def split_counters(tensors):
    """Two dicts: the weights, and torch's counters of batches, which its batch norms keep and we have no use for."""
    counters = {name: value for name, value in tensors.items() if name.rpartition(".")[2] == COUNTER}
    return {name: value for name, value in tensors.items() if name not in counters}, counters


def _respelt(name):
    for pattern, spelling in OLD_SPELLINGS:
        if pattern.fullmatch(name):
            return pattern.sub(spelling, name)
    found = OLD_MASK_CONVOLUTION.fullmatch(name)
    return f"roi_heads.mask_head.{int(found[1]) - 1}.0.{found[2]}" if found else name


def _check_tensors(path, content):
    for name, value in content.items():
        if not isinstance(name, str):
            raise WeightsError(f"{path}: holds {name} as the name of a weight; save model.state_dict()")
        if not isinstance(value, Tensor):
            raise WeightsError(f"{path}: {shortened(name)} is {_kind(value)}, not a plain tensor")
    # A view may repeat the same numbers as often as it likes, and so may names. This keeps memory in proportion.
    if sum(value.size for value in content.values()) > os.path.getsize(path):
        raise WeightsError(f"{path}: its tensors have more numbers than the file has bytes; save them contiguous")


def _array(path, name, tensor):
    try:
        return tensor.array()
    except PickleError as error:
        raise WeightsError(f"{path}: {shortened(name)} {error}") from None


def _kind(value):
    kind = value.kind if isinstance(value, Opaque) else type(value).__name__
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
