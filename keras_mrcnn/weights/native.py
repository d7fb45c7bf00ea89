"""Our weight file: safetensors with torchvision's names and layouts, and the model's config in its metadata."""

import json
import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from keras_mrcnn.config import ConfigError, ModelConfig
from keras_mrcnn.models.mask_rcnn import MaskRCNN
from keras_mrcnn.weights.names import named_weights


class WeightsError(ValueError):
    """A weight file that cannot be used; the message names the file and what is wrong."""


def save_weights(model, path):
    """Writes every weight of a model, and the config that builds it again.

    Args:
        model: `MaskRCNN`.
        path: of the file, usually `*.safetensors`; appears whole or not at all.
    """
    tensors = {
        name: np.ascontiguousarray(entry.to_torch(value_of(entry.variable)))
        for name, entry in named_weights(model).items()
    }
    write_safetensors(path, tensors, {"config": model.config.model_dump_json()})


def load_weights(path, model=None):
    """Reads a weight file.

    Args:
        path: a file that `save_weights` wrote.
        model: `MaskRCNN` to fill; by default one is built from the file's config.

    Returns:
        The model.

    Raises:
        WeightsError: the file is missing, is not ours, or does not fit the model, which then is as it was.
    """
    tensors, metadata = read_safetensors(path)
    if model is None:
        model = MaskRCNN(_config(path, metadata))
    assign_weights(model, tensors, path)
    return model


def assign_weights(model, tensors, source):
    """Fills a model from a dict of torchvision names to arrays; all names and shapes are checked first."""
    entries = named_weights(model)
    missing, surplus = sorted(entries.keys() - tensors.keys()), sorted(tensors.keys() - entries.keys())
    if missing:
        raise WeightsError(f"{source}: lacks {len(missing)} weights of the model, first {missing[0]}")
    if surplus:
        raise WeightsError(f"{source}: holds {len(surplus)} weights that the model does not have, first {surplus[0]}")
    for name, entry in entries.items():
        expected = entry.to_torch(np.empty(entry.variable.shape, np.uint8)).shape
        if tensors[name].shape != expected:
            raise WeightsError(f"{source}: {name} has shape {tensors[name].shape}, the model's is {expected}")
    for name, entry in entries.items():
        entry.variable.assign(entry.from_torch(tensors[name]))


def value_of(variable):
    """The NumPy value of a Keras variable of either Keras."""
    return np.asarray(variable.numpy())


def write_safetensors(path, tensors, metadata):
    """Writes a dict of arrays and a dict of strings under a temporary name, then renames it."""
    temporary = f"{path}.tmp"
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, temporary, metadata)
    os.replace(temporary, path)


def read_safetensors(path):
    """A safetensors file as a dict of arrays and a dict of strings. Raises `WeightsError`."""
    if not Path(path).is_file():
        raise WeightsError(f"{path}: no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a whole safetensors file ({error})") from None


def _config(path, metadata):
    if "config" not in metadata:
        raise WeightsError(f"{path}: has no config; pass the model that the weights belong to")
    try:
        return ModelConfig.model_validate(json.loads(metadata["config"]))
    except (ValueError, ConfigError) as error:
        raise WeightsError(f"{path}: its config cannot be used: {' '.join(str(error).split())}") from None
