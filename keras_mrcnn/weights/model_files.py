"""Weight files of every kind, into models and out of them: ours, torchvision's, ImageNet's."""

from __future__ import annotations

import collections
import json
import logging
import os
from pathlib import Path

import keras
import numpy as np
from pydantic import ValidationError

from keras_mrcnn import pretrained
from keras_mrcnn.config import ModelConfig, ResNetConfig
from keras_mrcnn.config.model import location
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
WeightFile.__doc__ = """What a weight file holds: tensors, a dict of torchvision names to arrays; counters, those of
torch's batch norms; config, a `ModelConfig`, None for an ImageNet classifier; kind: "keras_mrcnn", "torchvision" or
"classifier"."""


def fill_model(model: keras.Model, content: WeightFile, *, strict: bool = False, new_classes: bool = False) -> None:
    """Fills a `MaskRCNN` with what `read_model_weights` has read.

    Args:
        model: `MaskRCNN`.
        content: of a whole model.
        strict: whether other classes than the model's are refused.
        new_classes: whether other classes are what the user asks for, so that no warning is due.

    Raises:
        WeightsError: the weights do not fit the model, which then is as it was.
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


def load_backbone(backbone, source):
    """Fills a backbone with weights trained on ImageNet, or with those of a whole Mask R-CNN's backbone.

    Args:
        backbone: `ResNet` or `FunctionalBackbone`.
        source: "imagenet" or a Keras .h5 file, see `load_imagenet` and `load_application`; weights of ours; or, for a
            ResNet, a state dict of torchvision's resnet18, resnet34, resnet50 or resnet101, or of a Mask R-CNN. Or the
            name of published weights, see `keras_mrcnn.pretrained`.

    Raises:
        WeightsError: the file cannot be had or read, or does not fit the backbone, which then is as it was.
    """
    is_resnet = isinstance(backbone, ResNet)
    path = source if source == "imagenet" else str(_path(source))
    if path == "imagenet" or path.endswith(KERAS_SUFFIXES):
        load = keras_applications.load_imagenet if is_resnet else keras_applications.load_application
        load(backbone, path)
        return
    content, prefix = read_weights(source), architecture.BODY
    tensors = content.tensors
    if content.config is not None:
        tensors = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
    if is_resnet:
        _check_numerics(content, norm_epsilon=backbone.stem.norm.epsilon, stride_in=backbone.stride_in)
        tensors = _for_resnet(backbone, tensors)
    assign_entries(backbone_weights(backbone), tensors, source)


def _for_resnet(backbone, tensors):
    """The weights that a `ResNet` has: no classifier, nothing beyond where it ends, a stem for its channels."""
    unused = ("fc.", *(f"layer{stage}." for stage in range(len(backbone.stages) + 1, 5)))
    tensors = {name: value for name, value in tensors.items() if not name.startswith(unused)}
    first, channels = "conv1.weight", backbone.stem.conv.kernel.shape[2]
    if first in tensors and tensors[first].ndim == 4 and tensors[first].shape[1] == 3:
        kernel = keras_applications.adapt_first_kernel(tensors[first].transpose(2, 3, 1, 0), channels)
        tensors[first] = kernel.transpose(3, 2, 0, 1)
    return tensors


def read_weights(file, *, class_names=None, norm_epsilon=None, anchors=None):
    """Reads a file of any kind as a `WeightFile`; arguments as in `infer_config`, errors as in `fill_model`."""
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


def read_model_weights(file: str | os.PathLike, **options) -> WeightFile:
    """Reads a file of a whole model; arguments and errors as in `read_weights`, and one for files of a backbone."""
    published = pretrained.find(file)
    is_backbone = published is not None and published.kind == "backbone"
    content = None if is_backbone else read_weights(file, **options)  # so that nothing is downloaded in vain
    if content is None or content.config is None:
        raise WeightsError(f"{file}: holds an ImageNet classifier, not a Mask R-CNN; use it as model.backbone.weights")
    return content


def _path(file):
    """The path of a file that may be given by the name of published weights."""
    try:
        path = pretrained.weights_path(file)
    except OSError as error:
        raise WeightsError(str(error)) from error
    if not path.is_file():
        raise WeightsError(f"{file}: no such file")
    return path


def write_weights(path: str | os.PathLike, tensors: dict[str, np.ndarray], config: ModelConfig) -> None:
    """Writes weights under torchvision's names, in the format of the suffix; the file appears whole or not at all."""
    if Path(path).suffix in torch_files.SUFFIXES:
        torch_writer.write_state_dict(path, tensors)
    elif Path(path).suffix == ".safetensors":
        write_safetensors(path, tensors, {"config": config.model_dump_json()})
    else:
        raise WeightsError(f"{path}: name it *.safetensors, *.pth or *.pt")


def halved(source: str | os.PathLike, name: str, value: np.ndarray) -> np.ndarray:
    """A kernel as float16, anything else unchanged. Raises `WeightsError` where float16 is too narrow."""
    if value.ndim < 2:
        return value
    if np.abs(value).max(initial=0.0) > np.finfo(np.float16).max:
        largest = np.abs(value).max()
        raise WeightsError(f"{source}: {name} holds {largest:g}, more than float16 can; write it without half")
    return value.astype(np.float16)


def _as_float32(value):
    # To NumPy TensorFlow's bfloat16 is no floating-point number.
    floating = np.issubdtype(value.dtype, np.floating) or value.dtype.name == "bfloat16"
    return value.astype(np.float32, copy=False) if floating else value


def _config(file, text):
    try:
        return ModelConfig.model_validate(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{file}: its config cannot be used: {as_one_line(error)}") from None


def as_one_line(error: Exception) -> str:
    """Returns what an error says, in one line."""
    if isinstance(error, ValidationError):
        problems = ((".".join(location(problem)), problem["msg"]) for problem in error.errors())
        return "; ".join(f"{key}: {message}" if key else message for key, message in problems)
    return " ".join(str(error).split())


def _check_numerics(content, **settings):
    """Settings of the backbone that no shape tells apart and that change what the weights mean."""
    # Of classifiers there is no config; torchvision has what is our default.
    backbone = (content.config or ModelConfig()).backbone
    for name, ours in settings.items():
        theirs = getattr(backbone, name, ours)  # where the backbones differ in kind, their weights have other names
        if theirs != ours:
            raise WeightsError(
                f"{content.path}: belongs to a model with model.backbone.{name} {theirs}, this one has {ours}; set "
                f"model.backbone.{name}={theirs}"
            )


def _report_skipped(content, config, skipped, strict):
    theirs, ours = len(content.config.class_names), len(config.class_names)
    classes = f"{content.path}: has {theirs} classes, the model {ours}"
    if theirs == ours:
        classes = f"{content.path}: has other classes than the model"
        if content.kind == "torchvision":
            classes += " (a state dict has no names for them; if they are the same, pass class_names)"
    if strict:
        raise WeightsError(f"{classes}; load it without strict to keep the model's own class-dependent layers")
    logger.warning("%s; %d weights are not loaded: %s", classes, len(skipped), ", ".join(skipped))
