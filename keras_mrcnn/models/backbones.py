"""Makes backbones from their settings."""

from __future__ import annotations

import functools
from typing import Optional, Union

import keras

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.config import InstanceConfig, ModelConfig, ResNetConfig
from keras_mrcnn.models.applications import (
    FunctionalBackbone,
    copy_network,
    make_application,
    preprocessing_by_mode,
    preprocessing_of,
)
from keras_mrcnn.models.resnet import ResNet


def make_backbone(
    config: ModelConfig, instance: Optional[keras.Model] = None, name: str = "backbone"
) -> Union[ResNet, FunctionalBackbone]:
    """Makes the backbone of a model, with random weights or those of the instance.

    Args:
        config: of the model. `backbone`, `channels` and the kind of neck matter here: a pyramid takes maps up to stride
            32, the C4 neck up to 16.
        instance: functional `keras.Model`, where `config.backbone` is an `InstanceConfig`; the backbone gets a copy.
        name: of the layer.

    Raises:
        ValueError: the settings need an instance and there is none, or have no use for one; or the network cannot
            serve as a backbone.
    """
    settings, maps = config.backbone, 4 if config.neck.kind == "fpn" else 3
    if (instance is not None) != isinstance(settings, InstanceConfig):
        raise UserError(
            "a backbone of your own takes two things: MaskRCNN(config, backbone=network), and model.backbone="
            "{preprocessing: ...} in the config, which says what input the network expects"
        )
    if isinstance(settings, ResNetConfig):
        return ResNet(
            settings.depth,
            settings.width,
            stages=maps + 1,
            stride_in=settings.stride_in,
            norm=settings.norm,
            epsilon=settings.norm_epsilon,
            name=name,
        )
    options = {"maps": maps, "channels": config.channels, "train_norms": settings.norm == "bn", "name": name}
    if isinstance(settings, InstanceConfig):
        return FunctionalBackbone(copy_network(instance), preprocessing_by_mode(settings.preprocessing), **options)
    make = functools.partial(make_application, settings.name, settings.arguments)
    return FunctionalBackbone(make(), preprocessing_of(settings.name), make_trained=make, **options)
