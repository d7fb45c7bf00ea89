"""Reads weight files of every kind (ours, torchvision's, ImageNet's), fills models with them, and writes ours."""

from __future__ import annotations

import collections
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from pydantic import ValidationError

from keras_mrcnn import pretrained
from keras_mrcnn.config import ModelConfig, ResNetConfig, RPNConfig
from keras_mrcnn.config.model import location
from keras_mrcnn.models.applications import FunctionalBackbone
from keras_mrcnn.models.resnet import ResNet
from keras_mrcnn.weights import architecture, keras_applications, torch_files, torch_writer
from keras_mrcnn.weights.names import backbone_weights, named_weights
from keras_mrcnn.weights.native import (
    WeightsError,
    assign_entries,
    read_safetensors,
    write_safetensors,
)

logger = logging.getLogger(__name__)

KERAS_SUFFIXES = (".h5", ".hdf5", ".keras")
CLASS_LAYERS = tuple(
    f"roi_heads.{layer}."
    for layer in ("box_predictor.cls_score", "box_predictor.bbox_pred", "mask_predictor.mask_fcn_logits")
)

WeightFile = collections.namedtuple("WeightFile", "path tensors counters config kind")
WeightFile.__doc__ = """Content of a weight file: path, as the caller gave it; tensors, a dict of torchvision names to
arrays; counters, those of torch's batch norms; config, a `ModelConfig`, None for an ImageNet classifier; kind:
"keras_mrcnn", "torchvision" or "classifier"."""


def fill_model(model: keras.Model, content: WeightFile, *, strict: bool = False, new_classes: bool = False) -> None:
    """Fills a `MaskRCNN` with the weights that `read_model_weights` has read.

    Args:
        model: `MaskRCNN`.
        content: weights of a whole model.
        strict: whether weights for other classes are an error.
        new_classes: whether the user asked for other classes, so that there is no need for a warning.

    Raises:
        WeightsError: the weights do not fit the model, which then stays as it was.
    """
    if isinstance(model.config.backbone, ResNetConfig):
        backbone = model.config.backbone
        _check_numerics(content, norm_epsilon=backbone.norm_epsilon, stride_in=backbone.stride_in)
    entries, skipped = named_weights(model), []
    if content.config.class_names != tuple(model.config.class_names):
        skipped = [name for name in entries if name.startswith(CLASS_LAYERS)]
        if not new_classes:
            _report_skipped(content, model.config, skipped, strict)
    assign_entries(
        {name: entry for name, entry in entries.items() if name not in skipped},
        {name: value for name, value in content.tensors.items() if not (skipped and name.startswith(CLASS_LAYERS))},
        content.path,
    )


def load_backbone(backbone: ResNet | FunctionalBackbone, source: str | os.PathLike) -> None:
    """Fills a backbone with weights trained on ImageNet, or with those of the backbone of a whole Mask R-CNN.

    Args:
        backbone: `ResNet` or `FunctionalBackbone`.
        source: one of
            - "imagenet" or a Keras .h5 file, see `load_imagenet` and `load_application`;
            - a weight file of ours;
            - for a ResNet, a state dict of torchvision's resnet18, resnet34, resnet50, resnet101 or Mask R-CNN;
            - the name of published weights, see `keras_mrcnn.pretrained`.

    Raises:
        WeightsError: the file cannot be downloaded or read, or does not fit the backbone, which then stays as it was.
    """
    is_resnet = isinstance(backbone, ResNet)
    path = source if source == "imagenet" else str(_path(source))
    if path == "imagenet" or path.endswith(KERAS_SUFFIXES):
        load = keras_applications.load_imagenet if is_resnet else keras_applications.load_application
        load(backbone, path)
        return
    # By its path, for by its name a published file would be compared with its checksum once more.
    content, prefix = read_weights(path)._replace(path=source), architecture.BODY
    tensors = content.tensors
    if content.config is not None:
        tensors = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
    if is_resnet:
        _check_numerics(content, norm_epsilon=backbone.stem.norm.epsilon, stride_in=backbone.stride_in)
        tensors = _for_resnet(backbone, tensors)
    assign_entries(backbone_weights(backbone), tensors, source)


def _for_resnet(backbone: ResNet, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the weights that a `ResNet` has: without classifier or later stages, the stem adapted to its channels."""
    unused = ("fc.", *(f"layer{stage}." for stage in range(len(backbone.stages) + 1, 5)))
    tensors = {name: value for name, value in tensors.items() if not name.startswith(unused)}
    first, channels = "conv1.weight", backbone.stem.conv.kernel.shape[2]
    if first in tensors and tensors[first].ndim == 4 and tensors[first].shape[1] == 3:
        kernel = keras_applications.adapt_first_kernel(tensors[first].transpose(2, 3, 1, 0), channels)
        tensors[first] = kernel.transpose(3, 2, 0, 1)
    return tensors


def read_weights(
    file: str | os.PathLike,
    *,
    class_names: Sequence[str] | None = None,
    norm_epsilon: float | None = None,
    anchors: RPNConfig | None = None,
) -> WeightFile:
    """Reads a weight file of any kind.

    Args:
        file: path of the file, or the name of published weights.
        class_names, anchors: see `infer_config`.
        norm_epsilon: of a state dict's batch norms; by default 0 for torchvision's published COCO v1 file, else 1e-5.

    Raises:
        WeightsError: the file is missing, cannot be downloaded or read, or holds no weights of a model.
    """
    path = _path(file)
    if path.suffix in KERAS_SUFFIXES:
        raise WeightsError(f"{file}: is a file of Keras; only model.backbone.weights takes those of keras.applications")
    if torch_files.is_torch_file(path):
        tensors, metadata = torch_files.read_state_dict(path), {}
    else:
        tensors, metadata = read_safetensors(path)
    if {"stage", "epoch"} <= metadata.keys():
        raise WeightsError(f"{file}: is a checkpoint for --resume; use the other .safetensors files of its folder")
    tensors = {name: _as_float32(value) for name, value in tensors.items()}
    tensors, counters = torch_files.split_counters(torch_files.respell(tensors))
    if "config" in metadata:
        if class_names is not None or norm_epsilon is not None:
            raise WeightsError(f"{file}: has its own class names and epsilon; leave class_names and norm_epsilon out")
        return WeightFile(file, tensors, counters, _config(file, metadata["config"]), "keras_mrcnn")
    if architecture.is_classifier(tensors):
        return WeightFile(file, tensors, counters, None, "classifier")
    epsilon = pretrained.published_epsilon(path) if norm_epsilon is None else norm_epsilon
    counted = {name.rpartition(".")[0] for name in counters}
    try:
        config = architecture.infer_config(tensors, counted, class_names, epsilon, anchors)
    except ValueError as error:
        raise WeightsError(f"{file}: {as_one_line(error)}") from None
    return WeightFile(file, tensors, counters, config, "torchvision")


def read_model_weights(file: str | os.PathLike, **options: Any) -> WeightFile:
    """Reads a weight file of a whole model.

    Args:
        file: path of the file, or the name of published weights.
        **options: see `read_weights`.

    Raises:
        WeightsError: see `read_weights`; or the file holds the weights of a backbone.
    """
    published = pretrained.find(file)
    is_backbone = published is not None and published.kind == "backbone"
    content = None if is_backbone else read_weights(file, **options)  # do not download a backbone only to refuse it
    if content is None or content.config is None:
        raise WeightsError(f"{file}: holds an ImageNet classifier, not a Mask R-CNN; use it as model.backbone.weights")
    return content


def _path(file: str | os.PathLike) -> Path:
    """Returns the path of a weight file, downloaded where `file` names published weights. Raises `WeightsError`."""
    try:
        path = pretrained.weights_path(file)
    except OSError as error:
        raise WeightsError(str(error)) from error
    if not path.is_file():
        raise WeightsError(f"{file}: no such file")
    return path


def write_weights(path: str | os.PathLike, tensors: dict[str, np.ndarray], config: ModelConfig) -> None:
    """Writes weights under torchvision's names; the file appears whole or not at all.

    Args:
        path: of the file, whose suffix decides on the format: *.safetensors, *.pth or *.pt.
        tensors: arrays by torchvision's names.
        config: of the model; state dicts cannot hold it.

    Raises:
        WeightsError: the suffix is another, or torch has no number format like that of an array.
    """
    if Path(path).suffix in torch_files.SUFFIXES:
        torch_writer.write_state_dict(path, tensors)
    elif Path(path).suffix == ".safetensors":
        write_safetensors(path, tensors, {"config": config.model_dump_json()})
    else:
        raise WeightsError(f"{path}: name it *.safetensors, *.pth or *.pt")


def halved(source: str | os.PathLike, name: str, value: np.ndarray) -> np.ndarray:
    """Returns a kernel as float16, anything else unchanged.

    Args:
        source: of the weights, for the message.
        name: of the weight, for the message.
        value: the weight; it is a kernel where it has two dimensions or more.

    Raises:
        WeightsError: the range of float16 is too narrow for the kernel.
    """
    if value.ndim < 2:
        return value
    if np.abs(value).max(initial=0.0) > np.finfo(np.float16).max:
        largest = np.abs(value).max()
        raise WeightsError(f"{source}: {name} holds {largest:g}, more than float16 can; write it without half")
    return value.astype(np.float16)


def _as_float32(value: np.ndarray) -> np.ndarray:
    # NumPy does not count TensorFlow's bfloat16 among the floating-point types.
    floating = np.issubdtype(value.dtype, np.floating) or value.dtype.name == "bfloat16"
    return value.astype(np.float32, copy=False) if floating else value


def _config(file: str | os.PathLike, text: str) -> ModelConfig:
    try:
        return ModelConfig.model_validate(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{file}: its config cannot be used: {as_one_line(error)}") from None


def as_one_line(error: Exception) -> str:
    """Returns the message of an error in one line."""
    if isinstance(error, ValidationError):
        problems = ((".".join(location(problem)), problem["msg"]) for problem in error.errors())
        return "; ".join(f"{key}: {message}" if key else message for key, message in problems)
    return " ".join(str(error).split())


def _check_numerics(content: WeightFile, **settings: Any) -> None:
    """Checks the backbone's settings that do not show in the shapes of its weights but change their meaning."""
    # Classifiers have no config; our defaults are those of torchvision.
    backbone = (content.config or ModelConfig()).backbone
    for name, ours in settings.items():
        theirs = getattr(backbone, name, ours)  # backbones of different kinds differ in the names of their weights
        if theirs != ours:
            raise WeightsError(
                f"{content.path}: belongs to a model with model.backbone.{name} {theirs}, this one has {ours}; set "
                f"model.backbone.{name}={theirs}"
            )


def _report_skipped(content: WeightFile, config: ModelConfig, skipped: Sequence[str], strict: bool) -> None:
    """Warns of weights that are not loaded because the classes differ; with `strict`, raises `WeightsError`."""
    theirs, ours = len(content.config.class_names), len(config.class_names)
    classes = f"{content.path}: has {theirs} classes, the model {ours}"
    if theirs == ours:
        classes = f"{content.path}: has other classes than the model"
        if content.kind == "torchvision":
            classes += " (a state dict has no names for them; if they are the same, pass class_names)"
    if strict:
        raise WeightsError(f"{classes}; load it without strict to keep the model's own class-dependent layers")
    logger.warning("%s; %d weights are not loaded: %s", classes, len(skipped), ", ".join(skipped))
