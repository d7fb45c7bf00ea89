"""Converts weight files from one format to another."""

from __future__ import annotations

import os
from collections.abc import Sequence

from keras_mrcnn.config import ModelConfig
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.mask_rcnn.presets import build
from keras_mrcnn.weights.model_files import halved, read_model_weights, write_weights
from keras_mrcnn.weights.native import assign_weights


def convert_weights(
    source: str | os.PathLike,
    target: str | os.PathLike,
    *,
    class_names: Sequence[str] | None = None,
    norm_epsilon: float | None = None,
    half: bool = False,
) -> ModelConfig:
    """Reads a weight file, checks that it makes a model, and writes it in the format of the target's suffix.

    Args:
        source: weight file, or the name of published weights.
        target: *.safetensors, *.pth or *.pt.
        class_names, norm_epsilon: see `MaskRCNN.from_preset`.
        half: whether to write kernels as float16, which halves the file and keeps three digits. Biases and norms stay
            as they are.

    Returns:
        The `ModelConfig` that belongs to the weights.

    Raises:
        WeightsError: the source cannot be read, does not hold a whole model, or does not fit into half precision; or
            the target has another suffix.
    """
    content = read_model_weights(source, class_names=class_names, norm_epsilon=norm_epsilon)
    assign_weights(build(MaskRCNN, content.config, content.path), content.tensors, source)
    tensors = content.tensors
    if half:
        tensors = {name: halved(source, name, value) for name, value in tensors.items()}
    write_weights(target, {**tensors, **content.counters}, content.config)
    return content.config
