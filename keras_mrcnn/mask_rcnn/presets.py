"""Makes models from presets: published weights, weight files, run folders, and settings for new models."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.config import PRESETS, ModelConfig, ResNetConfig, load_config
from keras_mrcnn.weights import WeightsError, fill_model, load_backbone, read_weights
from keras_mrcnn.weights.architecture import resnet_depth
from keras_mrcnn.weights.model_files import WeightFile, as_one_line

SETTINGS_SUFFIXES = (".yaml", ".yml")


def make_from_preset(
    cls: type, preset: str | os.PathLike, class_names: Sequence[str] | None, dtype: Any, **options: Any
) -> keras.Model:
    """Makes a `MaskRCNN`, or its subclass `cls`, from a preset; see `MaskRCNN.from_preset`."""
    if isinstance(class_names, str):
        raise UserError(f"class_names is {class_names!r}, expected a sequence of names")
    path = Path(preset)
    if path.suffix == ".keras" and path.is_file():
        return _from_keras_file(cls, path, class_names, dtype)
    if str(preset) in PRESETS or path.suffix in SETTINGS_SUFFIXES:
        return _from_settings(cls, load_config(preset).model, class_names, dtype)
    content = read_weights(finished_model(path), **options)
    if content.config is None:
        depth = resnet_depth({name: value.shape for name, value in content.tensors.items()})
        config = ModelConfig(backbone=ResNetConfig(depth=depth, weights=str(content.path)))
        return _from_settings(cls, config, class_names, dtype)
    return _from_model_weights(cls, content, class_names, dtype)


def finished_model(path: Path) -> Path:
    """Returns the weight file at a path: the file itself, or the finished model of a run folder.

    Raises:
        WeightsError: the run folder has no finished model.
    """
    if not path.is_dir():
        return path
    model = path / "model.safetensors"
    if not model.is_file():
        others = sorted(other.name for other in path.glob("*.safetensors") if other.name != "checkpoint.safetensors")
        have = f"; it has {', '.join(others)}, which can be named instead" if others else ""
        raise WeightsError(f"{path}: has no model.safetensors, so its training is not finished{have}")
    return model


def _from_keras_file(cls: type, path: Path, class_names: Sequence[str] | None, dtype: Any) -> keras.Model:
    model = keras.saving.load_model(path, compile=False)
    if not isinstance(model, cls):
        raise WeightsError(f"{path}: holds a {type(model).__name__}, not a MaskRCNN")
    if class_names is not None and tuple(class_names) != model.config.class_names:
        raise WeightsError(f"{path}: has the classes {', '.join(model.config.class_names)}; a .keras file keeps them")
    if dtype is None:
        return model
    copy = cls.from_config({**model.get_config(), "dtype": dtype})
    copy.set_weights(model.get_weights())
    return copy


def _from_settings(cls: type, config: ModelConfig, class_names: Sequence[str] | None, dtype: Any) -> keras.Model:
    if class_names is not None:
        config = _with_classes(config, class_names)
    if not config.class_names:
        raise UserError("class_names: this preset has no classes of its own; name those that the model is to find")
    model = cls(config, dtype=dtype)
    if config.backbone.weights:
        load_backbone(model.backbone, config.backbone.weights)
    return model


def _from_model_weights(cls: type, content: WeightFile, class_names: Sequence[str] | None, dtype: Any) -> keras.Model:
    config = content.config
    if class_names is not None and tuple(class_names) != config.class_names:
        config = _with_classes(config, class_names)
        if content.kind == "torchvision" and len(class_names) == len(content.config.class_names):
            content = content._replace(config=config)  # a state dict has no class names, so it gets these
    model = build(cls, config, content.path, dtype=dtype)
    fill_model(model, content, new_classes=class_names is not None)
    return model


def _with_classes(config: ModelConfig, class_names: Sequence[str]) -> ModelConfig:
    tree = {**config.model_dump(), "class_names": tuple(class_names), "category_ids": ()}
    return ModelConfig.model_validate(tree)


def build(cls: type, config: ModelConfig, path: str | os.PathLike, **options: Any) -> keras.Model:
    """Makes a new model for the weights of a file.

    Args:
        cls: `MaskRCNN` or a subclass.
        config: of the model.
        path: of the file, for the message.
        **options: further arguments of `cls`.

    Raises:
        WeightsError: the config makes no model.
    """
    try:
        return cls(config, **options)
    except Exception as error:  # a valid config may name no classes, or ask for more than memory holds
        raise WeightsError(f"{path}: no model can be made from its config: {as_one_line(error)[:200]}") from None
