"""State dicts as torchvision writes them, in NumPy: names and shapes by the tests' own rules, at any size.

The defaults are tiny; `FULL_SIZE` are the sizes of torchvision's models.
"""

from __future__ import annotations

import numpy as np
from golden_network import weights_like

BLOCKS = {18: ((2, 2, 2, 2), 2), 34: ((3, 4, 6, 3), 2), 50: ((3, 4, 6, 3), 3), 101: ((3, 4, 23, 3), 3)}
FULL_SIZE = {"base": 64, "channels": 256, "dense": 1024, "mask_convs": 4, "box_convs": 4}
COUNTER = "num_batches_tracked"
# Spelling of today: spelling of torchvision before 0.13.
OLD_NAMES = {
    **{f"backbone.fpn.inner_blocks.{i}.0.": f"backbone.fpn.inner_blocks.{i}." for i in range(4)},
    **{f"backbone.fpn.layer_blocks.{i}.0.": f"backbone.fpn.layer_blocks.{i}." for i in range(4)},
    "rpn.head.conv.0.0.": "rpn.head.conv.",
    **{f"roi_heads.mask_head.{i}.0.": f"roi_heads.mask_head.mask_fcn{i + 1}." for i in range(4)},
}


def norm_shapes(name, channels):
    """Shapes of a batch norm that counts its batches, as torch's own does; a frozen one has no counter."""
    affine = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {**affine, f"{name}.{COUNTER}": ()}


def resnet_shapes(depth=18, base=8, classes=None):
    """Shapes of a ResNet; with `classes` of the classifier on top as well."""
    shapes = {"conv1.weight": (base, 3, 7, 7), **norm_shapes("bn1", base)}
    counts, convs = BLOCKS[depth]
    channels = base
    for stage, count in enumerate(counts):
        inner = base * 2**stage
        outer = inner * (4 if convs == 3 else 1)
        for block in range(count):
            name = f"layer{stage + 1}.{block}"
            plan = [(inner, channels, 3), (inner, inner, 3)]
            if convs == 3:
                plan = [(inner, channels, 1), (inner, inner, 3), (outer, inner, 1)]
            for i, (out, into, side) in enumerate(plan, start=1):
                shapes[f"{name}.conv{i}.weight"] = (out, into, side, side)
                shapes.update(norm_shapes(f"{name}.bn{i}", out))
            if block == 0 and channels != outer:
                shapes[f"{name}.downsample.0.weight"] = (outer, channels, 1, 1)
                shapes.update(norm_shapes(f"{name}.downsample.1", outer))
            channels = outer
    return shapes if classes is None else {**shapes, "fc.weight": (classes, channels), "fc.bias": (classes,)}


def _sequence(name, out, into, side, normed):
    weight = {f"{name}.0.weight": (out, into, side, side)}
    return {**weight, **norm_shapes(f"{name}.1", out)} if normed else {**weight, f"{name}.0.bias": (out,)}


def _layer(name, *shape):
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def mask_rcnn_shapes(depth=18, outputs=3, v2=False, base=8, channels=8, dense=16, mask_convs=1, box_convs=2):
    """Shapes of `maskrcnn_resnet50_fpn` or of its second version, with any depth; `outputs` counts the background."""
    body = resnet_shapes(depth, base)
    shapes = {f"backbone.body.{name}": shape for name, shape in body.items()}
    last = base * (4 if BLOCKS[depth][1] == 3 else 1)
    for level in range(4):
        shapes.update(_sequence(f"backbone.fpn.inner_blocks.{level}", channels, last * 2**level, 1, v2))
    for level in range(4):
        shapes.update(_sequence(f"backbone.fpn.layer_blocks.{level}", channels, channels, 3, v2))
    for i in range(2 if v2 else 1):
        shapes.update(_sequence(f"rpn.head.conv.{i}", channels, channels, 3, False))
    shapes.update(_layer("rpn.head.cls_logits", 3, channels, 1, 1))
    shapes.update(_layer("rpn.head.bbox_pred", 12, channels, 1, 1))
    head = "roi_heads.box_head"
    if v2:
        for i in range(box_convs):
            shapes.update(_sequence(f"{head}.{i}", channels, channels, 3, True))
        shapes.update(_layer(f"{head}.{box_convs + 1}", dense, 49 * channels))
    else:
        shapes.update({**_layer(f"{head}.fc6", dense, 49 * channels), **_layer(f"{head}.fc7", dense, dense)})
    shapes.update(_layer("roi_heads.box_predictor.cls_score", outputs, dense))
    shapes.update(_layer("roi_heads.box_predictor.bbox_pred", 4 * outputs, dense))
    for i in range(mask_convs):
        shapes.update(_sequence(f"roi_heads.mask_head.{i}", channels, channels, 3, v2))
    shapes.update(_layer("roi_heads.mask_predictor.conv5_mask", channels, channels, 2, 2))
    shapes.update(_layer("roi_heads.mask_predictor.mask_fcn_logits", outputs, channels, 1, 1))
    return shapes


def without_counters(tensors):
    """The dict without torch's counters of batches: what frozen batch norms write."""
    return {name: value for name, value in tensors.items() if not name.endswith(COUNTER)}


def filled(shapes):
    """A state dict: float32 values that follow from the names, and counters that say 7."""
    counters = {name: np.array(7) for name in shapes if name.endswith(COUNTER)}
    return {**weights_like(without_counters(shapes)), **counters}


def hollow(shapes):
    """Tensors of any size that take no memory."""
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}


def old_spelling(tensors):
    """The tensors of a first version under their names of torchvision before 0.13."""

    def old(name):
        return next((name.replace(new, old) for new, old in OLD_NAMES.items() if name.startswith(new)), name)

    return {old(name): value for name, value in tensors.items()}
