"""Torchvision's name and layout for every weight of a `MaskRCNN`.

Weight files hold torchvision's names and layouts, so that one file serves both stacks and torchvision. A backbone that
torchvision does not have, such as one of `keras.applications`, keeps Keras' layouts and Keras' names in the spelling of
Keras 3.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_mrcnn.layers.conv_norm import ConvNorm
from keras_mrcnn.models.applications import FunctionalBackbone, leaf_layers
from keras_mrcnn.models.box_head import BoxHead
from keras_mrcnn.models.fpn import C4, FPN
from keras_mrcnn.models.mask_head import MaskHead
from keras_mrcnn.models.resnet import ResNet
from keras_mrcnn.models.rpn import RPN

Entry = collections.namedtuple("Entry", "variable to_torch from_torch")
Entry.__doc__ = """A Keras variable and the functions that turn its NumPy value into torch's layout and back."""
NamedEntries = Iterator[tuple[str, Entry]]


def named_weights(model: keras.Model) -> dict[str, Entry]:
    """Returns every weight of a model under its torchvision name.

    Args:
        model: `MaskRCNN`.

    Returns:
        dict of names to `Entry`, in the order of torchvision's state dict.
    """
    return {
        **{f"backbone.body.{name}": entry for name, entry in backbone_weights(model.backbone).items()},
        **{f"backbone.fpn.{name}": entry for name, entry in _fpn(model.neck)},
        **dict(_rpn(model.rpn)),
        **{f"roi_heads.{name}": entry for name, entry in _box_head(model.box_head, model.roi_channels)},
        **{f"roi_heads.{name}": entry for name, entry in _mask_head(model.mask_head)},
    }


def backbone_weights(backbone: ResNet | FunctionalBackbone) -> dict[str, Entry]:
    """Returns every weight of a backbone by name; the names of a `ResNet`'s are those of torchvision's classifiers."""
    if not isinstance(backbone, FunctionalBackbone):
        return dict(_resnet(backbone))
    fourth = {} if backbone.fourth is None else {"fourth/kernel": _plain(backbone.fourth.kernel)}
    return {**network_weights(backbone.body), **fourth}


def network_weights(network: keras.Model) -> dict[str, Entry]:
    """Returns every weight of a functional model under the name layer/weight, which is the same on both stacks."""
    entries, counts = {}, collections.Counter()
    for name, layer in leaf_layers(network):
        if not layer.weights:
            continue
        kind = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(layer).__name__).lower()
        if re.fullmatch(rf"{kind}(_\d+)?", layer.name):  # Keras numbers such layers across all models of a process
            name = f"{name[: -len(layer.name)]}{kind}_{counts[kind]}"
            counts[kind] += 1
        name = name.replace("/BatchNorm", "_bn").replace("/", "_").lower()  # Keras 2 names MobileNet's layers so
        for variable in layer.weights:
            weight = own_name(variable)
            if isinstance(layer, keras.layers.DepthwiseConv2D):
                weight = weight.replace("depthwise_kernel", "kernel")  # Keras 2 names it so
            entries[f"{name}/{weight}"] = _plain(variable)
    return entries


def own_name(variable: Any) -> str:
    """Returns the name of a variable within its layer: "kernel", which Keras 2 calls conv/kernel:0."""
    return variable.name.rpartition("/")[2].partition(":")[0]


def _resnet(backbone: ResNet) -> NamedEntries:
    yield from _conv_norm("conv1", "bn1", backbone.stem)
    for stage, blocks in enumerate(backbone.stages, start=1):
        for index, block in enumerate(blocks):
            prefix = f"layer{stage}.{index}"
            for number, conv in enumerate(block.convs, start=1):
                yield from _conv_norm(f"{prefix}.conv{number}", f"{prefix}.bn{number}", conv)
            if block.shortcut is not None:
                yield from _conv_norm(f"{prefix}.downsample.0", f"{prefix}.downsample.1", block.shortcut)


def _fpn(neck: FPN | C4) -> NamedEntries:
    for name, convs in (("inner_blocks", getattr(neck, "inner", [])), ("layer_blocks", getattr(neck, "layer", []))):
        for level, conv in enumerate(convs):
            yield from _block(f"{name}.{level}", conv)


def _rpn(rpn: RPN) -> NamedEntries:
    for index, conv in enumerate(rpn.convs):
        yield from _block(f"rpn.head.conv.{index}", conv)
    yield from _conv("rpn.head.cls_logits", rpn.objectness)
    yield from _conv("rpn.head.bbox_pred", rpn.deltas)


def _box_head(head: BoxHead, channels: int) -> NamedEntries:
    for index, conv in enumerate(head.convs):
        yield from _block(f"box_head.{index}", conv)
    if head.convs:
        # With convolutions torchvision's head is one sequence: these, a flatten, then each dense layer and its ReLU.
        first, channels = len(head.convs) + 1, head.convs[-1].conv.filters
        names = [f"box_head.{first + 2 * i}" for i in range(len(head.dense))]
    else:
        names = [f"box_head.fc{6 + i}" for i in range(len(head.dense))]
    yield from _first_dense(names[0], head.dense[0], channels)
    for name, layer in zip(names[1:], head.dense[1:]):
        yield from _dense(name, layer)
    yield from _dense("box_predictor.cls_score", head.classes)
    yield from _dense("box_predictor.bbox_pred", head.deltas)


def _mask_head(head: MaskHead) -> NamedEntries:
    for index, conv in enumerate(head.convs):
        yield from _block(f"mask_head.{index}", conv)
    # Keras keeps a transposed kernel as (h, w, out, in), torch as (in, out, h, w).
    yield "mask_predictor.conv5_mask.weight", _transposed(head.upsample.kernel, (3, 2, 0, 1))
    yield "mask_predictor.conv5_mask.bias", _plain(head.upsample.bias)
    yield from _conv("mask_predictor.mask_fcn_logits", head.logits)


def _block(name: str, layer: ConvNorm) -> NamedEntries:
    """Yields the weights of a `ConvNorm` for which torchvision has a sequence of a convolution and an optional norm."""
    if layer.norm is None:
        yield from _conv(f"{name}.0", layer.conv)
    else:
        yield from _conv_norm(f"{name}.0", f"{name}.1", layer)


def _conv_norm(conv_name: str, norm_name: str, layer: ConvNorm) -> NamedEntries:
    yield f"{conv_name}.weight", _transposed(layer.conv.kernel, (3, 2, 0, 1))
    norm = layer.norm
    yield f"{norm_name}.weight", _plain(norm.gamma)
    yield f"{norm_name}.bias", _plain(norm.beta)
    if hasattr(norm, "moving_mean"):
        yield f"{norm_name}.running_mean", _plain(norm.moving_mean)
        yield f"{norm_name}.running_var", _plain(norm.moving_variance)


def _conv(name: str, layer: keras.layers.Layer) -> NamedEntries:
    yield f"{name}.weight", _transposed(layer.kernel, (3, 2, 0, 1))
    yield f"{name}.bias", _plain(layer.bias)


def _dense(name: str, layer: keras.layers.Layer) -> NamedEntries:
    yield f"{name}.weight", _transposed(layer.kernel, (1, 0))
    yield f"{name}.bias", _plain(layer.bias)


def _first_dense(name: str, layer: keras.layers.Layer, channels: int) -> NamedEntries:
    """Yields the weights of a dense layer on flattened maps, which are (C, H, W) in torch and (H, W, C) in Keras."""
    inputs, outputs = layer.kernel.shape
    side = round((inputs // channels) ** 0.5)
    yield (
        f"{name}.weight",
        Entry(
            layer.kernel,
            lambda value: value.reshape(side, side, channels, outputs).transpose(3, 2, 0, 1).reshape(outputs, inputs),
            lambda value: value.reshape(outputs, channels, side, side).transpose(2, 3, 1, 0).reshape(inputs, outputs),
        ),
    )
    yield f"{name}.bias", _plain(layer.bias)


def _plain(variable: Any) -> Entry:
    return Entry(variable, np.asarray, np.asarray)


def _transposed(variable: Any, axes: tuple[int, ...]) -> Entry:
    back = np.argsort(axes)
    return Entry(variable, lambda value: value.transpose(axes), lambda value: value.transpose(back))
