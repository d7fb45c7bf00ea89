"""Writes one ONNX file that takes pictures and gives final detections."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from keras_mrcnn.base.atomic_files import atomic_write
from keras_mrcnn.export.folding import fold_norms
from keras_mrcnn.export.model_card import model_card
from keras_mrcnn.export.onnx_handlers import HANDLERS, REWRITERS
from keras_mrcnn.export.onnx_weights import insert_weights, separate_weights
from keras_mrcnn.mask_rcnn.detector import Detector, ExportError
from keras_mrcnn.mask_rcnn.model import MaskRCNN

if TYPE_CHECKING:
    import onnx

OPSET = 17
INPUT_DTYPES = ("uint8", "float32")


def export_onnx(
    model: MaskRCNN,
    path: str | os.PathLike,
    input_dtype: str = "uint8",
    metrics: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a model, with all pre- and post-processing, as an ONNX file.

    The graph is that of `Detector.detect`: input images [B, H, W, C], 0..255, any B, H and W of at least 1, where C is
    `config.channels`, RGB for 3; outputs boxes, scores, category_ids, valid and masks. Batch norms are folded into the
    convolutions, RoIAlign and NMS are native operators, and there is no Loop. The metadata of the file hold class_names
    and category_ids (JSON lists), config (the `ModelConfig` as JSON), version, precision and model_card (Markdown).

    Args:
        model: `MaskRCNN`.
        path: file to write, usually `*.onnx`; it appears whole or not at all.
        input_dtype: dtype of the images, "uint8" or "float32".
        metrics: scores for the model card, see `read_metrics`.

    Returns:
        The `Path` of the file.

    Raises:
        ExportError: tf2onnx and onnx are not installed, an operator has no ONNX form, or the dtype is unknown.

    Example:
        >>> export_onnx(model, "saved_models/scenes.onnx")
    """
    require("onnx")
    if input_dtype not in INPUT_DTYPES:
        raise ExportError(f"input_dtype {input_dtype!r} is not one of {', '.join(INPUT_DTYPES)}")
    folded = Detector(fold_norms(model))
    detect = folded.detect if input_dtype == "uint8" else folded.detect_float
    proto = _convert(detect)
    _check_operators(proto)
    _name_dimensions(proto, detect)
    path = Path(path)
    card = model_card(model, name=path.stem, files=(path.name,), metrics=metrics, input_dtype=input_dtype)
    description = {**Detector(model).describe(), "precision": "float32", "model_card": card}
    metadata = {key: value if isinstance(value, str) else json.dumps(value) for key, value in description.items()}
    write_model(proto, path, metadata)
    return path


def write_model(proto: onnx.ModelProto, path: Path, metadata: dict[str, str]) -> None:
    """Checks an ONNX model and writes it with these metadata, whole or not at all."""
    onnx = require("onnx")
    onnx.helper.set_model_props(proto, metadata)
    content = proto.SerializeToString()
    onnx.checker.check_model(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def require(name: str, purpose: str = "ONNX export") -> ModuleType:
    """Imports a package of the extra 'onnx', or raises `ExportError`, which says what needs it."""
    try:
        return __import__(name)
    except ImportError as error:
        raise ExportError(f"{purpose} needs {error.name or name}: pip install 'keras_mrcnn[onnx]'") from error


def _convert(detect):
    """Converts a `tf.function` with one signature to an ONNX model that holds its weights."""
    tf2onnx = require("tf2onnx")
    function = detect.get_concrete_function()
    names = {function.inputs[0].name: detect.input_signature[0].name}
    names.update((tensor.name, name) for name, tensor in function.graph.structured_outputs.items())
    graph_def, weights = separate_weights(function)
    inputs, outputs = [function.inputs[0].name, *weights], [t.name for t in function.outputs]
    with _quiet(), tf.device("/cpu:0"), tf.Graph().as_default() as graph:
        tf.import_graph_def(tf2onnx.tf_loader.tf_optimize(inputs, outputs, graph_def), name="")
        converted = tf2onnx.tfonnx.process_tf_graph(
            graph,
            continue_on_error=True,
            opset=OPSET,
            custom_op_handlers=dict(HANDLERS),
            custom_rewriter=REWRITERS,
            input_names=inputs,
            output_names=outputs,
            tensors_to_rename=names,
        )
        proto = tf2onnx.optimizer.optimize_graph(converted).make_model("keras_mrcnn")
    insert_weights(proto.graph, weights)
    return proto


@contextlib.contextmanager
def _quiet():
    """Silences everything below an error in the log of tf2onnx."""
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _check_operators(proto):
    """Raises `ExportError` for operators that tf2onnx could not convert, before a runtime refuses the file."""
    from onnx import defs

    foreign = sorted({node.op_type for node in proto.graph.node if not defs.has(node.op_type, node.domain)})
    if foreign:
        raise ExportError(f"these TensorFlow operators have no ONNX form: {', '.join(foreign)}")
    if any(node.op_type in ("Loop", "Scan") for node in proto.graph.node):
        raise ExportError("the graph has a Loop, which is far too slow: RoIAlign or a map_fn was not recognised")


def _name_dimensions(proto, detect):
    """Names the free dimensions of inputs and outputs, and sets the length of the others."""
    outputs = detect.get_concrete_function().structured_outputs
    shapes = {name: ("batch", *value.shape[1:]) for name, value in outputs.items()}
    shapes["images"] = ("batch", "height", "width", detect.input_signature[0].shape[-1])
    for value in [*proto.graph.input, *proto.graph.output]:
        for dimension, size in zip(value.type.tensor_type.shape.dim, shapes[value.name]):
            if isinstance(size, str):
                dimension.dim_param = size
            else:
                dimension.dim_value = size
