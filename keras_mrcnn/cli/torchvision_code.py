"""Writes the Python code that makes torchvision's model for a `ModelConfig`, where torchvision has one."""

from __future__ import annotations

from keras_mrcnn.config import ModelConfig, ResNetConfig

# Settings that decide which weights there are and what they compute. Frozen and other batch norms count as one kind.
V1 = {
    "channels": 3,
    "backbone.depth": 50, "backbone.width": 1.0, "backbone.stride_in": "3x3", "backbone.norm": "bn",
    "neck.kind": "fpn", "neck.channels": 256, "neck.norm": None, "rpn.convolutions": 1,
    "box_head.channels": 1024, "box_head.dense_layers": 2, "box_head.convolutions": 0,
    "box_head.conv_channels": 256, "box_head.norm": None,
    "mask_head.channels": 256, "mask_head.convolutions": 4, "mask_head.norm": None, "roi_canonical_side": 224.0,
}  # fmt: skip
V2 = {
    **V1, "neck.norm": "bn", "rpn.convolutions": 2, "box_head.dense_layers": 1, "box_head.convolutions": 4,
    "box_head.norm": "bn", "mask_head.norm": "bn",
}  # fmt: skip
FUNCTIONS = {"maskrcnn_resnet50_fpn": V1, "maskrcnn_resnet50_fpn_v2": V2}
# Arguments that leave no trace in the weights, and our settings of the same meaning.
ARGUMENTS = {
    "min_size": "min_size", "max_size": "max_size", "rpn_pre_nms_top_n_test": "rpn.pre_nms_test",
    "rpn_post_nms_top_n_test": "rpn.post_nms_test", "rpn_nms_thresh": "rpn.nms_iou",
    "box_score_thresh": "box_head.score_threshold", "box_nms_thresh": "box_head.nms_iou",
    "box_detections_per_img": "box_head.max_detections",
}  # fmt: skip
DETECTION = "from torchvision.models.detection"


def function_name(config: ModelConfig) -> str | None:
    """Returns the name of torchvision's function whose models have such weights, or None."""
    return next((name for name, known in FUNCTIONS.items() if not _differing(config, known)), None)


def lacking_settings(config: ModelConfig) -> list[str]:
    """Returns the settings, as "key value", that torchvision's models do not have; [] if it has such a model."""
    known = min(FUNCTIONS.values(), key=lambda settings: len(_differing(config, settings)))
    lacking = {key: value for key, value in _differing(config, known).items() if known is V2 or key != "backbone.depth"}
    if known is V2 and _anchors(config):
        lacking["rpn.anchor_sizes or rpn.aspect_ratios"] = "other than the default"
    return [f"{key} {value}" for key, value in lacking.items()]


def code_lines(config: ModelConfig) -> list[str]:
    """Returns lines of Python that make torchvision's `model`, which detects the same as ours with the same weights.

    Args:
        config: `ModelConfig` without `lacking_settings`.
    """
    arguments = [f"num_classes={len(config.class_names) + 1}"]
    values, defaults = config.model_dump(), ModelConfig().model_dump()
    for argument, key in ARGUMENTS.items():
        if _setting(values, key) != _setting(defaults, key):
            arguments.append(f"{argument}={_setting(values, key)}")
    lines, anchors = [], _anchors(config)
    if anchors:
        lines.append(f"{DETECTION}.anchor_utils import AnchorGenerator")
        arguments.append(f"rpn_anchor_generator={anchors}")
    name, rest = function_name(config), ", ".join(arguments)
    if name:
        lines += [f"{DETECTION} import {name}", f"model = {name}(weights=None, weights_backbone=None, {rest})"]
    else:
        body = f'resnet_fpn_backbone(backbone_name="resnet{config.backbone.depth}", weights=None)'
        lines += [f"{DETECTION} import MaskRCNN", f"{DETECTION}.backbone_utils import resnet_fpn_backbone"]
        lines += [f"model = MaskRCNN({body}, {rest})"]
    if config.backbone.norm_epsilon != 1e-5:
        lines += ['for norm in (module for module in model.modules() if hasattr(module, "running_var")):']
        lines += [f"    norm.eps = {config.backbone.norm_epsilon}"]
    return [*lines, "model.eval()"]


def _anchors(config):
    """Returns an expression for anchors that are not the default, else ""."""
    if (config.anchor_sizes, config.rpn.aspect_ratios) == (ModelConfig().anchor_sizes, ModelConfig().rpn.aspect_ratios):
        return ""
    return f"AnchorGenerator({config.anchor_sizes}, ({config.rpn.aspect_ratios},) * {len(config.anchor_sizes)})"


def _differing(config, known):
    """Returns the settings in which a config differs from `known`, by key."""
    if not isinstance(config.backbone, ResNetConfig):
        return {"backbone": config.backbone.title}
    values, differing = config.model_dump(), {}
    irrelevant = set() if config.box_head.convolutions else {"box_head.conv_channels", "box_head.norm"}
    if config.backbone.depth < 50:
        irrelevant.add("backbone.stride_in")  # basic blocks have no 1x1 convolution
    for key in known.keys() - irrelevant:
        value = _setting(values, key)
        if ("bn" if value in ("frozen_bn", "sync_bn") else value) != known[key]:
            differing[key] = value
    return dict(sorted(differing.items()))


def _setting(values, key):
    for part in key.split("."):
        values = values[part]
    return values
