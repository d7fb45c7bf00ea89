"""Batch norms folded into the convolutions before them, for models that are not trained any more."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_mrcnn.config import ApplicationsConfig, InstanceConfig
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.models.applications import FunctionalBackbone, leaf_layers
from keras_mrcnn.models.resnet import ResNet

BATCH_NORMS = ("frozen_bn", "bn", "sync_bn")


def fold_norms(model: MaskRCNN, precision: str = "float32") -> MaskRCNN:
    """Returns a model with the same detections and fewer operations: its convolutions include the batch norms.

    Args:
        model: `MaskRCNN`, which is not changed.
        precision: Keras dtype policy of the new model's networks. With "bfloat16" the weights have that type too.

    Returns:
        A `MaskRCNN` with its own weights. Group norms stay, because they depend on the picture; so do all norms of a
        backbone that is not our own ResNet. Its config has no norms where there were batch norms, so the model is
        only for computing and must not be saved.

    Reference: Jacob et al., Quantization and Training of Neural Networks, 2018, section 3.2.
    """
    instance = model.backbone.body if isinstance(model.config.backbone, InstanceConfig) else None
    folded = MaskRCNN(_without_batch_norms(model.config), dtype=precision, backbone=instance)
    for source, target in zip(_conv_norms(model), _conv_norms(folded)):
        if source.norm is not None and target.norm is None:
            _fill([target.conv.kernel, target.conv.bias], _folded(source))
        else:
            _fill(target.weights, source.get_weights())
    for source, target in zip(_other_layers(model), _other_layers(folded)):
        _fill(target.weights, source.get_weights())
    return folded


def _without_batch_norms(config):
    """Returns a `ModelConfig` with None for each batch norm, unchecked: files must not hold such a backbone."""

    def part(settings):
        folds = settings.norm in BATCH_NORMS and not isinstance(settings, (ApplicationsConfig, InstanceConfig))
        return settings.model_copy(update={"norm": None}) if folds else settings

    names = ("backbone", "neck", "box_head", "mask_head")
    return config.model_copy(update={name: part(getattr(config, name)) for name in names})


def _folded(layer):
    """Returns kernel [k, k, in, out] and bias [out] of a `ConvNorm`, with the norm's moving statistics."""
    norm = layer.norm
    gamma, beta, mean, variance = (
        np.float64(value.numpy()) for value in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
    )
    scale = gamma / np.sqrt(variance + norm.epsilon)
    return np.float64(layer.conv.kernel.numpy()) * scale, beta - mean * scale


def _fill(variables, values):
    for variable, value in zip(variables, values):
        variable.assign(tf.cast(value, variable.dtype))


def _conv_norms(model):
    backbone, neck = model.backbone, model.neck
    if isinstance(backbone, ResNet):
        yield backbone.stem
        for block in backbone.blocks:
            yield from block.convs
            if block.shortcut is not None:
                yield block.shortcut
    yield from (*getattr(neck, "inner", []), *getattr(neck, "layer", []))
    yield from (*model.rpn.convs, *model.box_head.convs, *model.mask_head.convs)


def _other_layers(model):
    if isinstance(model.backbone, FunctionalBackbone):
        yield from (layer for _, layer in leaf_layers(model.backbone.body))
        if model.backbone.fourth is not None:
            yield model.backbone.fourth
    yield from (model.rpn.objectness, model.rpn.deltas)
    yield from (*model.box_head.dense, model.box_head.classes, model.box_head.deltas)
    yield from (model.mask_head.upsample, model.mask_head.logits)
