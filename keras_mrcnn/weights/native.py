"""Safetensors files, and the values of a model under torchvision's names."""

import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from keras_mrcnn.base.atomic_files import atomic_write
from keras_mrcnn.base.errors import UserError
from keras_mrcnn.weights.names import named_weights


class WeightsError(UserError):
    """A weight file that cannot be used; the message names the file and what is wrong."""


def named_values(model):
    """Every weight of a `MaskRCNN` in torch's layout: a dict of torchvision names to arrays."""
    return {
        name: np.ascontiguousarray(entry.to_torch(value_of(entry.variable)))
        for name, entry in named_weights(model).items()
    }


def assign_weights(model, tensors, source):
    """Fills a model from a dict of torchvision names to arrays. Raises `WeightsError`, and then changes nothing."""
    assign_entries(named_weights(model), tensors, source)


def assign_entries(entries, tensors, source):
    """As `assign_weights`, for some entries of `named_weights`."""
    faults = fit_faults(entries, tensors)
    if faults:
        raise WeightsError(f"{source}: {faults}")
    for name, entry in entries.items():
        entry.variable.assign(entry.from_torch(tensors[name]))


def fit_faults(entries, tensors):
    """What keeps tensors from fitting entries, to follow the name of a file in a sentence; "" where they fit."""
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


def value_of(variable):
    """The NumPy value of a Keras variable of either Keras."""
    return np.asarray(variable.numpy())


def write_safetensors(path, tensors, metadata):
    """Writes a dict of arrays and a dict of strings; the file appears whole or not at all."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    # Not by safetensors itself: its files are for their owner's eyes alone, and a killed process leaves them behind
    # under random names. These are large and written again and again, so what is left must not pile up.
    content = save(tensors, metadata)
    with atomic_write(path, only_writer=True) as temporary, open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())  # a name may outlive a power cut that its content does not


def read_safetensors(path):
    """A safetensors file as a dict of arrays and a dict of strings. Raises `WeightsError`."""
    if not Path(path).is_file():
        raise WeightsError(f"{path}: no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (TypeError, AttributeError) as error:
        raise WeightsError(f"{path}: holds a number format that NumPy lacks ({error}); save it as float32") from None
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a whole safetensors file ({error})") from None
