"""State dicts of torch: reading and writing their files, and the spelling of their names."""

from __future__ import annotations

import collections
import re
import warnings
from pathlib import Path

import numpy as np

from keras_mrcnn.base.atomic_files import atomic_write
from keras_mrcnn.weights.native import WeightsError

OLDEST_TORCH = (2, 6)  # older ones can be made to run code by `weights_only` too (CVE-2025-32434)
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


def read_state_dict(path):
    """The tensors of a file that `torch.save` wrote: a state dict, or a checkpoint that holds one under "model".

    Nothing in the file is run: torch refuses all but plain tensors (`weights_only`).

    Args:
        path: of the file.

    Returns:
        dict of names to arrays; floating-point ones as float32, for NumPy itself has no bfloat16.

    Raises:
        WeightsError: torch is not installed, or refuses the file, or it holds something else.
    """
    torch = _torch(f"{path}: reading it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles of other kinds, which torch then refuses
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for files that are torn or hold other things than tensors
        # Not torch's own words: they tell how to run such a file all the same.
        asked = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"asks for {asked[1]}" if asked else type(error).__name__
        raise WeightsError(
            f"{path}: torch does not load it as plain weights ({reason}), so it is torn or holds other objects; "
            "nothing in it was run; save the model's state_dict() alone"
        ) from None
    for key in NESTED:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise WeightsError(f"{path}: holds a {type(content).__name__}, not a state dict; save model.state_dict()")
    return {str(name): _array(torch, path, name, value) for name, value in content.items()}


def write_state_dict(path, tensors):
    """Writes a dict of names to arrays as a state dict for `torch.load`; the file appears whole or not at all.

    Raises:
        WeightsError: torch is not installed.
    """
    torch = _torch(f"{path}: writing it")
    state = collections.OrderedDict((name, torch.from_numpy(np.array(value))) for name, value in tensors.items())
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        torch.save(state, temporary)


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


def _torch(purpose):
    try:
        import torch
    except ImportError:
        raise WeightsError(
            f"{purpose} needs torch: pip install 'keras_mrcnn[torch]', or use a .safetensors file"
        ) from None
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < OLDEST_TORCH:
        raise WeightsError(
            f"{purpose} needs torch 2.6 or newer, which alone runs nothing of what a file holds; this is "
            f"{torch.__version__}"
        )
    return torch


def _array(torch, path, name, value):
    try:
        value = value.detach()
        return (value.float() if value.is_floating_point() else value).contiguous().numpy()
    except (AttributeError, RuntimeError, TypeError, NotImplementedError):
        raise WeightsError(f"{path}: {name} is a {type(value).__name__}, not a plain tensor") from None
