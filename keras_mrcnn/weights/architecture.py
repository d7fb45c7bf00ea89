"""Infers the model that a state dict of torchvision belongs to from its names and shapes."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.config import ModelConfig, RPNConfig
from keras_mrcnn.layers.roi_align import BOX_POOL
from keras_mrcnn.models.resnet import ARCHITECTURES
from keras_mrcnn.weights.coco_classes import COCO_CLASS_NAMES

Shapes = Mapping[str, tuple[int, ...]]
# Blocks of layer1..layer4 and whether they are bottlenecks -> depth.
DEPTHS = {blocks: depth for depth, blocks in ARCHITECTURES.items()}
BODY, FPN, HEADS = "backbone.body.", "backbone.fpn.", "roi_heads."
POOLED_CELLS = BOX_POOL**2
# Weights that every such model has, and their numbers of dimensions.
LANDMARKS = {
    f"{BODY}conv1.weight": 4,
    f"{BODY}layer1.0.conv1.weight": 4,
    f"{FPN}inner_blocks.0.0.weight": 4,
    f"{FPN}layer_blocks.0.0.weight": 4,
    "rpn.head.conv.0.0.weight": 4,
    "rpn.head.cls_logits.weight": 4,
    f"{HEADS}box_predictor.cls_score.weight": 2,
    f"{HEADS}mask_predictor.conv5_mask.weight": 4,
}


class ArchitectureError(UserError):
    """A state dict of a model that this package does not have; the message says what differs."""


def infer_config(
    tensors: Mapping[str, np.ndarray],
    counted_norms: Collection[str] = (),
    class_names: Sequence[str] | None = None,
    norm_epsilon: float = 1e-5,
    anchors: RPNConfig | None = None,
) -> ModelConfig:
    """Infers the config of the model that a state dict belongs to.

    Settings that leave no trace in the weights (anchor sizes, thresholds, input size) get torchvision's defaults.

    Args:
        tensors: dict of torchvision names, in the new spelling, to arrays.
        counted_norms: names, without their last part, of the batch norms that count their batches, which are those that
            were trained. The others are frozen.
        class_names: names of the classes without the background; by default COCO's where there are 91 outputs, else
            "class 1", "class 2", ...
        norm_epsilon: of every norm; a state dict does not hold it.
        anchors: `RPNConfig` with the sizes and ratios of the anchors, by default torchvision's.

    Returns:
        The `ModelConfig`.

    Raises:
        ArchitectureError: this package has no such model, or the class names do not fit the number of classes.

    Reference: torchvision `models/detection/mask_rcnn.py`, `maskrcnn_resnet50_fpn` and `maskrcnn_resnet50_fpn_v2`.
    """
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    for name, rank in LANDMARKS.items():
        if len(shapes.get(name, ())) != rank:
            raise ArchitectureError(f"lacks {name}, so it is no Mask R-CNN with a ResNet and an FPN as torchvision has")
    for name, shape in shapes.items():
        if not shape or 0 in shape:
            raise ArchitectureError(f"{name} has shape {shape}, which no weight has")

    def norm_of(prefix: str) -> str | None:
        if f"{prefix}.running_var" in shapes:
            return "bn" if prefix in counted_norms else "frozen_bn"
        return "group_norm" if f"{prefix}.weight" in shapes else None

    box_convs = _count(shapes, HEADS + "box_head.{}.0.weight")
    return ModelConfig.model_validate(
        {
            "class_names": _class_names(shapes[f"{HEADS}box_predictor.cls_score.weight"][0] - 1, class_names),
            "channels": shapes[f"{BODY}conv1.weight"][1],
            "backbone": {**_body(shapes), "norm": norm_of(f"{BODY}bn1"), "norm_epsilon": norm_epsilon},
            "neck": _neck(shapes, norm_of(f"{FPN}inner_blocks.0.1")),
            "rpn": _rpn(shapes, anchors),
            "box_head": {
                **_box_head(shapes, box_convs),
                "norm": norm_of(f"{HEADS}box_head.0.1") if box_convs else None,
            },
            "mask_head": {
                "channels": shapes[f"{HEADS}mask_predictor.conv5_mask.weight"][1],
                "convolutions": _count(shapes, HEADS + "mask_head.{}.0.weight"),
                "norm": norm_of(f"{HEADS}mask_head.0.1"),
            },
        }
    )


def is_classifier(tensors: Mapping[str, np.ndarray]) -> bool:
    """Returns whether the names are those of torchvision's classification ResNets."""
    return "conv1.weight" in tensors and "layer1.0.conv1.weight" in tensors


def resnet_depth(shapes: Shapes, prefix: str = "") -> int:
    """Returns the depth of the ResNet whose names begin with `prefix`.

    Args:
        shapes: dict of torchvision names, in the new spelling, to shapes.
        prefix: of the ResNet's names.

    Raises:
        ArchitectureError: this package has no such ResNet.
    """
    counts = tuple(_count(shapes, f"{prefix}layer{stage}.{{}}.conv1.weight") for stage in (1, 2, 3, 4))
    bottleneck = f"{prefix}layer1.0.conv3.weight" in shapes
    if (counts, bottleneck) not in DEPTHS:
        kind = "bottlenecks" if bottleneck else "basic blocks"
        raise ArchitectureError(f"its backbone has {counts} {kind}; ResNets of depth 18, 34, 50 and 101 can be read")
    first = shapes[f"{prefix}layer1.0.conv1.weight"][0]
    if first != shapes[f"{prefix}conv1.weight"][0]:
        raise ArchitectureError("its backbone is a wide or grouped ResNet; only plain ones can be read")
    return DEPTHS[counts, bottleneck]


def _body(shapes: Shapes) -> dict[str, Any]:
    return {"depth": resnet_depth(shapes, BODY), "width": shapes[f"{BODY}conv1.weight"][0] / 64}


def _neck(shapes: Shapes, norm: str | None) -> dict[str, Any]:
    levels = _count(shapes, FPN + "inner_blocks.{}.0.weight")
    if levels != 4:
        raise ArchitectureError(f"its FPN has {levels} levels of the backbone; those with all 4 can be read")
    return {"channels": shapes[f"{FPN}inner_blocks.0.0.weight"][0], "norm": norm}


def _rpn(shapes: Shapes, anchors: RPNConfig | None) -> dict[str, Any]:
    count = shapes["rpn.head.cls_logits.weight"][0]
    if count != 3 and anchors is None:
        raise ArchitectureError(
            f"its RPN has {count} anchors a cell, whose sizes no file tells; build the model from a ModelConfig with "
            "rpn.anchor_sizes and rpn.aspect_ratios and pass it"
        )
    settings = {} if anchors is None else anchors.model_dump(include={"anchor_sizes", "aspect_ratios"})
    return {**settings, "convolutions": _count(shapes, "rpn.head.conv.{}.0.weight")}


def _box_head(shapes: Shapes, convolutions: int) -> dict[str, Any]:
    names = [f"{HEADS}box_head.{convolutions + 1 + 2 * i}.weight" for i in range(8)]
    if not convolutions:
        names = [f"{HEADS}box_head.fc{6 + i}.weight" for i in range(8)]
    dense = list(itertools.takewhile(shapes.__contains__, names))
    if not dense:
        raise ArchitectureError(f"lacks {names[0]}, the first fully connected layer of the box head")
    channels = shapes[dense[0]][0]
    first = f"{HEADS}box_head.0.0.weight" if convolutions else f"{FPN}layer_blocks.0.0.weight"
    if shapes[dense[0]] != (channels, POOLED_CELLS * shapes[first][0]):
        raise ArchitectureError(f"its box head does not take {POOLED_CELLS} cells: {dense[0]} has {shapes[dense[0]]}")
    settings = {"channels": channels, "dense_layers": len(dense), "convolutions": convolutions}
    return {**settings, "conv_channels": shapes[first][0]} if convolutions else settings


def _class_names(count: int, class_names: Sequence[str] | None) -> tuple[str, ...]:
    if count < 1:
        raise ArchitectureError("has no classes beside the background")
    if class_names is None:
        names = COCO_CLASS_NAMES if count == len(COCO_CLASS_NAMES) else [f"class {i + 1}" for i in range(count)]
        return tuple(names)
    if len(class_names) != count:
        raise ArchitectureError(f"has {count} classes without the background, not {len(class_names)} as class_names")
    return tuple(class_names)


def _count(shapes: Shapes, pattern: str) -> int:
    """Counts the names pattern.format(0), pattern.format(1), ... up to the first that is missing."""
    count = 0
    while pattern.format(count) in shapes:
        count += 1
    return count
