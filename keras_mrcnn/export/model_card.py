"""Writes the model card that an exported model comes with.

Shapes: B batch, H W of the original image, D detections, M mask side.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import yaml

from keras_mrcnn import __version__
from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.tables import escape_markdown, markdown_table
from keras_mrcnn.config import NO_CLASS
from keras_mrcnn.evaluation.tables import read_json
from keras_mrcnn.mask_rcnn.detector import MASK_SIDE
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.models.applications import FunctionalBackbone, leaf_layers
from keras_mrcnn.weights.names import own_name

TITLES = {"rpn": "RPN", "box": "boxes", "mask": "masks"}
# Files with metrics in the folder of a run: that of training, and that of `evaluate --json`.
METRICS_FILE, EVALUATION_FILE = "metrics.json", "evaluation.json"
VARIANTS = {
    "float32": "computes in float32 and stores its weights in float32",
    "bfloat16": "computes in bfloat16, boxes and scores in float32, and stores its weights in bfloat16",
    "int8": "has convolutions quantised to int8 after training, so scores and boxes differ a little from float32",
}
COLOURS = {1: "grey", 3: "RGB", 4: "RGB and one channel more"}
SAVED_MODEL_INPUTS = """\
| signature | input |
|---|---|
| `serving_default` | `images`: string [B], encoded JPEG or PNG; sizes may differ; EXIF orientation is not looked at |
| `serving_compact` | the same; masks come as `masks_png_bytes`: string [B], all of an image in one grey PNG, a column |
| `detect` | `images`: uint8 [B, H, W, 3], RGB, 0..255 |
| `detect_padded` | the same, and `sizes`: int32 [B, 2], height and width of each image in a larger array |
"""
ONNX_INPUTS = """\
| input | type |
|---|---|
| `images` | {dtype} [B, H, W, 3], RGB, 0..255; any B, H and W of at least 1 |
"""
OUTPUTS = """\
| output | type | what |
|---|---|---|
| `boxes` | float32 [B, {D}, 4] | x0, y0, x1, y1 in pixels of the original image, best first, zero-padded |
| `scores` | float32 [B, {D}] | 0 to 1, falling |
| `category_ids` | int32 [B, {D}] | see the classes; 0 for padding |
| `valid` | int32 [B] | how many detections there are |
| `masks` | uint8 [B, {D}, {M}, {M}] | probability inside the box * 255 |
"""
NOT_TRAINED = "Not known: no run of this library."
LICENCE = (
    "Not stated here. The licence of the code does not cover the weights; the data and the weights that training began "
    "with may bind them. Whoever passes the model on says here what holds."
)


def model_card(
    model: MaskRCNN,
    *,
    name: str,
    files: Sequence[str] = ("saved_model.pb",),
    variant: str = "float32",
    metrics: Mapping[str, Any] | None = None,
    input_dtype: str = "uint8",
) -> str:
    """Describes an exported model in Markdown; the same model, metrics and versions always give the same text.

    Args:
        model: `MaskRCNN`.
        name: name of the model.
        files: relative paths of the files that were written, which the card lists; if one is *.onnx, the card is that
            of an ONNX file, otherwise that of a SavedModel.
        variant: "float32", "bfloat16" or "int8".
        metrics: dict as `read_metrics` returns it, or of scores by stage; None if the model was not scored.
        input_dtype: dtype of the images that an ONNX file takes.

    Returns:
        The text, which ends with a newline.

    Raises:
        ValueError: the variant is unknown.
    """
    if variant not in VARIANTS:
        raise UserError(f"variant is {variant!r}, expected one of {', '.join(VARIANTS)}")
    onnx = any(str(file).endswith(".onnx") for file in files)
    inputs = ONNX_INPUTS.format(dtype=input_dtype) if onnx else SAVED_MODEL_INPUTS
    channels = model.config.channels
    inputs = inputs.replace("3], RGB", f"{channels}], {COLOURS[channels]}")
    if channels == 4:  # which JPEG does not have
        inputs = inputs.replace("JPEG or PNG", "PNG")
    sections = {
        "": _summary(model.config, name, variant),
        "Classes": _classes(model.config),
        "Input and output": _contract(model.config, inputs),
        "Network": _network(model),
        "Scores": _scores(metrics or {}),
        "Training": _training(metrics or {}),
        "Config": f"```yaml\n{_yaml({'model': model.config.model_dump(mode='json')})}```",
        "Files": "\n".join(f"- `{file}`" for file in sorted(map(str, files))),
        "Versions": _versions(onnx),
        "Licence": LICENCE,
    }
    return "\n\n".join(f"## {title}\n\n{text}" if title else text for title, text in sections.items()) + "\n"


def read_metrics(weights: str | os.PathLike) -> dict[str, Any] | None:
    """Reads the metrics of a run: those of training, replaced where evaluation.json has newer ones.

    Args:
        weights: folder of a run, or its model.safetensors. Other weight files of a run belong to earlier stages, to
            which the metrics do not apply.

    Returns:
        dict with training (seconds and memory by stage), rpn, box and mask, as far as they are known; None if there
        are no metrics.

    Raises:
        ValueError: a file is not JSON, or holds no metrics; the message names it.
    """
    weights = Path(weights)
    if not weights.is_dir() and weights.name != "model.safetensors":
        return None
    folder, metrics = weights if weights.is_dir() else weights.parent, {}
    for name in (METRICS_FILE, EVALUATION_FILE):
        if (folder / name).is_file():
            content = read_json(folder / name)
            if not isinstance(content, dict) or not all(isinstance(part, dict) for part in content.values()):
                raise UserError(f"{folder / name}: holds no metrics by stage; write it again or move it away")
            metrics.update({stage: content[stage] for stage in ("training", *TITLES) if stage in content})
    return metrics or None


def _summary(config, name, variant):
    named = [class_name for class_name in config.class_names if class_name != NO_CLASS]
    objects = "objects of one class" if len(named) == 1 else f"objects of {len(named)} classes"
    return (
        f"# {escape_markdown(name)}\n\n"
        f"A Mask R-CNN that finds {objects} in pictures: a box, a score and a mask for each. "
        f"This variant, {variant}, {VARIANTS[variant]}. Resizing, normalising, padding and non-maximum suppression are "
        "part of it."
    )


def _classes(config):
    classes = zip(config.category_ids, config.class_names)
    rows = [(str(category_id), name) for category_id, name in classes if name != NO_CLASS]
    return markdown_table(("category id", "class"), rows)


def _contract(config, inputs):
    return inputs + "\n" + OUTPUTS.format(D=config.box_head.max_detections, M=MASK_SIDE).rstrip("\n")


def _network(model):
    config = model.config
    backbone, neck = config.backbone, config.neck
    anchors = ", ".join("/".join(f"{size:g}" for size in sizes) for sizes in config.anchor_sizes)
    rows = [
        ("backbone", f"{backbone.title}, norm {backbone.norm}"),
        ("neck", f"FPN, {neck.channels} channels" if neck.kind == "fpn" else "C4"),
        ("anchors", f"sides {anchors}; height / width {', '.join(f'{r:g}' for r in config.rpn.aspect_ratios)}"),
        ("input size", f"short side {config.min_size}, long side at most {config.max_size} pixels"),
        ("parameters", f"{count_parameters(model):,}"),
        ("detections", f"at most {config.box_head.max_detections}, score above {config.box_head.score_threshold:g}"),
    ]
    return markdown_table(("part", "setting"), rows)


def count_parameters(model: MaskRCNN) -> int:
    """Counts parameters as torch and `weights inspect` do: without statistics and without frozen batch norms."""
    count = 0
    for name in ("backbone", "neck", "rpn", "box_head", "mask_head"):
        part = getattr(model, name)
        frozen = getattr(getattr(model.config, name), "norm", None) == "frozen_bn"
        if isinstance(part, FunctionalBackbone):
            count += sum(_size_of_layer(layer, frozen) for _, layer in leaf_layers(part.body))
            count += 0 if part.fourth is None else _size_of_layer(part.fourth, frozen)
        else:
            count += sum(_size(weight, frozen) for weight in part.weights)
    return count


def _size_of_layer(layer, frozen):
    """Counts the parameters of a layer of a functional model; the gamma of a layer norm is never frozen."""
    frozen = frozen and isinstance(layer, keras.layers.BatchNormalization)
    return sum(_size(weight, frozen) for weight in layer.weights)


def _size(weight, frozen):
    constants = ("moving_mean", "moving_variance", *(("gamma", "beta") if frozen else ()))
    return 0 if own_name(weight) in constants else int(np.prod(weight.shape))


def _scores(metrics):
    """Returns a table for the RPN, one for boxes and masks side by side, and one of the AP of each class."""
    stages = {stage: metrics[stage] for stage in TITLES if metrics.get(stage)}
    groups = [[stage for stage in names if stage in stages] for names in (("rpn",), ("box", "mask"))]
    tables = [_stage_table("", {TITLES[stage]: _plain(stages[stage]) for stage in group}) for group in groups if group]
    per_class = {TITLES[stage]: scores["per_class"] for stage, scores in stages.items() if scores.get("per_class")}
    if per_class:
        tables.append(_stage_table("AP of each class", per_class))
    return "\n\n".join(tables) or "This model was not scored."


def _plain(scores):
    """Returns the scores that are numbers, or None where there was nothing to score."""
    return {key: value for key, value in scores.items() if value is None or isinstance(value, (int, float))}


def _stage_table(title, columns):
    """Returns a table whose rows are the keys of all columns, in the order in which they first appear."""
    keys = dict.fromkeys(key for column in columns.values() for key in column)
    rows = [
        (key if title else key.replace("_", " "), *(column.get(key) for column in columns.values())) for key in keys
    ]
    return markdown_table((title, *columns), rows)


def _training(metrics):
    rows = [
        (stage, f"{usage['seconds']:.0f}" if "seconds" in usage else None, usage.get("peak_memory_mb"))
        for stage, usage in metrics.get("training", {}).items()
    ]
    return markdown_table(("stage", "seconds", "peak memory, MB"), rows) if rows else NOT_TRAINED


def _versions(onnx):
    names = ["tensorflow", "keras", "numpy"] + (["tf2onnx", "onnx"] if onnx else [])
    rows = [(name, getattr(importlib.import_module(name), "__version__", "unknown")) for name in names]
    return markdown_table(("package", "version"), [("keras_mrcnn", __version__), *rows])


def _yaml(tree):
    return yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)
