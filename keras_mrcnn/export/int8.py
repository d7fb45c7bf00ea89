"""Quantises an ONNX file to 8-bit integers: a quarter of the size, and faster on CPUs with integer products.

The convolutions and matrix products of the networks are quantised, and the operators between them. The parts that
boxes depend on stay float32: the picture's resize and normalisation, the last layer of each head, RoIAlign and NMS.

Reference: Jacob et al., Quantization and Training of Neural Networks, 2018.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from keras_mrcnn.export.onnx import require, write_model
from keras_mrcnn.mask_rcnn.detector import ExportError

if TYPE_CHECKING:
    import onnx

PRODUCTS = ("Conv", "Gemm", "MatMul")
# Operators between two products that also work on integers.
BETWEEN = (
    "Add", "Flatten", "MaxPool", "Pad", "Relu", "Reshape", "Resize", "Slice", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
# Operators that do not pass a map on: they choose boxes by it, or ask only for its size.
ENDS = ("Gather", "GatherElements", "GatherND", "NonMaxSuppression", "RoiAlign", "Shape", "TopK")


def quantize_onnx(
    source: str | os.PathLike,
    target: str | os.PathLike,
    images: Iterable[np.ndarray],
    total: int | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Writes an int8 copy of an ONNX file, with ranges measured on pictures (static quantisation after training).

    Weights are int8 with a scale for each output channel, activations uint8 with a scale for each map, from the least
    to the greatest value on the pictures. They are written as QuantizeLinear and DequantizeLinear, which are ONNX's own
    operators; a runtime merges them and the operators between them into integer operators.

    Weights have 7 bits. With 8, pairs of products overflow 16 bits on x86 CPUs that lack VNNI, and the file would
    detect other objects there.

    Args:
        source: ONNX file that `export_onnx` wrote, float32.
        target: the file to write; appears whole or not at all.
        images: iterable of uint8 [H, W, C], RGB for 3, at least one; about a hundred, as the model will see them. They
            are read one at a time.
        total: number of images if len() does not give it; the progress bar needs it to show the time left.
        metadata: entries of the target's metadata that replace those of the source.

    Returns:
        The `Path` of the target. It has the inputs, outputs and metadata of the source, but precision "int8".

    Raises:
        ExportError: onnx or onnxruntime is not installed, or there are no images.

    Example:
        >>> quantize_onnx("saved_models/scenes.onnx", "saved_models/scenes-int8.onnx", images)
    """
    onnx = require("onnx", "int8")
    require("onnxruntime.quantization", "int8")
    target = Path(target)
    with tempfile.TemporaryDirectory() as folder:
        prepared = _prepare(source, Path(folder, "prepared.onnx"))
        names = nodes_to_quantize(onnx.load(str(prepared)).graph)
        bar = tqdm(images, "calibrate", total, unit="image", disable=None, leave=False)
        ranges = _measure_ranges(prepared, names, bar)
        proto = _quantize(prepared, names, ranges)
    _count_integers(proto.graph)
    kept = {entry.key: entry.value for entry in onnx.load(str(source)).metadata_props}
    _remove_notes(proto)
    write_model(proto, target, {**kept, "precision": "int8", **(metadata or {})})
    return target


def nodes_to_quantize(graph: onnx.GraphProto) -> list[str]:
    """Returns the names of the operators that are quantised.

    These are the products with constant weights whose results go into another product, so not the last layers of RPN
    and heads, and the operators between two products.

    Args:
        graph: its nodes must be in order and have names.
    """
    constants = {tensor.name for tensor in graph.initializer}
    # Tensors that go into a product: through any operators, and only through those of BETWEEN.
    before, close_before = set(), set()
    for node in reversed(graph.node):
        is_product = node.op_type in PRODUCTS
        if is_product or (node.op_type not in ENDS and before.intersection(node.output)):
            before.update(node.input)
        if is_product or (node.op_type in BETWEEN and close_before.intersection(node.output)):
            close_before.update(node.input)
    names, quantized = [], set(constants)
    for node in graph.node:
        if node.op_type in PRODUCTS:
            is_quantized = node.input[1] in constants and node.output[0] in before
        else:
            data = node.input if node.op_type == "Add" else node.input[:1]
            is_quantized = node.op_type in BETWEEN and node.output[0] in close_before and quantized.issuperset(data)
        if is_quantized:
            names.append(node.name)
            quantized.update(node.output)
    return names


def _prepare(source, path):
    """Writes the source as ONNX Runtime simplifies it: biases and pads merged into products, and no idle copies."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    # Symbolic shape inference fails on shapes that depend on the picture, and only types are needed.
    quant_pre_process(str(source), str(path), skip_symbolic_shape=True)
    proto = onnx.load(str(path))
    for number, node in enumerate(proto.graph.node):
        node.name = node.name or f"unnamed_{number}"
    onnx.save(proto, str(path))
    return path


def _measure_ranges(path, names, images):
    """Returns ONNX Runtime's `TensorsData`: least and greatest value of each tensor at the named operators."""
    from onnxruntime.quantization.calibrate import MinMaxCalibrater

    calibrator = MinMaxCalibrater(path, augmented_model_path=str(path.with_name("calibration.onnx")))
    # By default it selects by operator type, which includes box arithmetic, whose tensors may be empty.
    calibrator.select_tensors_to_calibrate = lambda model: (_tensors(model.graph, names), {})
    calibrator.augment_graph()
    calibrator.infer_session = _calibration_session(calibrator.augmented_model_path)
    reader = _Reader(calibrator.infer_session.get_inputs()[0], images)
    try:
        calibrator.collect_data(reader)
    except ValueError as error:
        if reader.count:
            raise
        raise ExportError("no images to measure the ranges of int8 on: give about a hundred") from error
    return calibrator.compute_data()


def _calibration_session(path):
    """Opens a session that leaves the operators as they are and frees each map as soon as it is not needed."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Without optimisation there are more maps of more sizes, and an arena keeps far more memory than they need.
    options.enable_cpu_mem_arena = False
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class _Reader:
    """Feeds ONNX Runtime's calibration one image after the other, each as a batch of one."""

    def __init__(self, session_input, images):
        self.name = session_input.name
        self.dtype = np.uint8 if session_input.type == "tensor(uint8)" else np.float32
        self.images, self.count = iter(images), 0

    def get_next(self):
        image = next(self.images, None)
        if image is None:
            return None
        self.count += 1
        return {self.name: np.asarray(image)[None].astype(self.dtype)}


def _tensors(graph, names):
    """Returns the names of the float32 inputs and outputs of the named nodes, except constants."""
    from onnx import TensorProto

    chosen, constants = set(names), {tensor.name for tensor in graph.initializer}
    types = {value.name: value.type.tensor_type.elem_type for value in [*graph.value_info, *graph.input, *graph.output]}
    tensors = {name for node in graph.node if node.name in chosen for name in [*node.input, *node.output]}
    return {name for name in tensors - constants if types.get(name) == TensorProto.FLOAT}


def _quantize(path, names, ranges):
    """Returns the onnx.ModelProto of a prepared file, with its named operators quantised."""
    import onnx
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    quantizer = QDQQuantizer(
        onnx.load(str(path)),
        per_channel=True,
        reduce_range=True,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=names,
        nodes_to_exclude=[],
        op_types_to_quantize=[*PRODUCTS, *BETWEEN],
        extra_options={},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    return quantizer.model.model


def _count_integers(graph):
    """Makes Shape read the integers of a map: otherwise a runtime converts the whole map to floats to count them."""
    integers = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    for node in graph.node:
        if node.op_type == "Shape":
            node.input[0] = integers.get(node.input[0], node.input[0])


def _remove_notes(proto):
    """Removes leftovers of the tools: types of tensors, some of which are gone, and operator sets that are not used."""
    del proto.graph.value_info[:]
    used = {node.domain for node in proto.graph.node}
    for entry in [entry for entry in proto.opset_import if entry.domain not in used]:
        proto.opset_import.remove(entry)
