"""Safetensors files, and the values of a model under torchvision's names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from keras_mrcnn.base.atomic_files import atomic_write
from keras_mrcnn.base.errors import UserError
from keras_mrcnn.weights.names import Entry, named_weights


class WeightsError(UserError):
    """A weight file that cannot be used; the message names the file and what is wrong."""


def named_values(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns every weight of a `MaskRCNN` in torch's layout: a dict of torchvision names to arrays."""
    return {
        name: np.ascontiguousarray(entry.to_torch(value_of(entry.variable)))
        for name, entry in named_weights(model).items()
    }


def assign_weights(model: keras.Model, tensors: Mapping[str, np.ndarray], source: str | os.PathLike) -> None:
    """Fills a model with arrays.

    Args:
        model: `MaskRCNN`.
        tensors: dict of torchvision names to arrays in torch's layout.
        source: of the arrays, for the message.

    Raises:
        WeightsError: the arrays do not fit the model, which then stays as it was.
    """
    assign_entries(named_weights(model), tensors, source)


def assign_entries(entries: Mapping[str, Entry], tensors: Mapping[str, np.ndarray], source: str | os.PathLike) -> None:
    """Fills some entries of `named_weights` with arrays, as `assign_weights` fills a model."""
    faults = fit_faults(entries, tensors)
    if faults:
        raise WeightsError(f"{source}: {faults}")
    for name, entry in entries.items():
        entry.variable.assign(entry.from_torch(tensors[name]))


def fit_faults(entries: Mapping[str, Entry], tensors: Mapping[str, np.ndarray]) -> str:
    """Returns why tensors do not fit entries, worded to follow the name of a file; "" where they fit."""
    missing, surplus = sorted(entries.keys() - tensors.keys()), sorted(tensors.keys() - entries.keys())
    if missing:
        return f"lacks {len(missing)} weights of the model, first {missing[0]}"
    if surplus:
        return f"holds {len(surplus)} weights that the model does not have, first {surplus[0]}"
    for name, entry in entries.items():
        expected = entry.to_torch(np.empty(entry.variable.shape, np.uint8)).shape
        if tensors[name].shape != expected:
            return f"{name} has shape {tensors[name].shape}, the model's is {expected}"
        if not np.issubdtype(tensors[name].dtype, np.floating):
            return f"{name} holds {tensors[name].dtype}, no floating-point numbers"
    return ""


def value_of(variable: Any) -> np.ndarray:
    """Returns the NumPy value of a variable, of Keras 2 or Keras 3."""
    return np.asarray(variable.numpy())


def write_safetensors(path: str | os.PathLike, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes a dict of arrays and a dict of strings; the file appears whole or not at all."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    # Safetensors' own writer makes files that only their owner can read, and a killed process leaves them behind
    # under random names. Checkpoints are large and are written again and again, so such leftovers must not pile up.
    content = save(tensors, metadata)
    with atomic_write(path, only_writer=True) as temporary, open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())  # a power cut must not leave the name without the content


def read_safetensors(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Reads a safetensors file.

    Returns:
        The arrays by name, and the metadata.

    Raises:
        WeightsError: the file is missing or torn, or NumPy lacks one of its number formats.
    """
    if not Path(path).is_file():
        raise WeightsError(f"{path}: no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (TypeError, AttributeError) as error:
        raise WeightsError(f"{path}: holds a number format that NumPy lacks ({error}); save it as float32") from None
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a whole safetensors file ({error})") from None
