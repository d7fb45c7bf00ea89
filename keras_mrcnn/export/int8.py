"""An ONNX file whose products are of 8-bit integers: a quarter of the size, and faster where the CPU has such products.

The networks' convolutions and matrix products become integers, with what lies between them; all that decides about
boxes stays float32: the picture's resize and normalisation, the last layer of each head, RoIAlign and NMS.

Reference: Jacob et al., Quantization and Training of Neural Networks, 2018.
"""

import tempfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

from keras_mrcnn.export.onnx import write_model
from keras_mrcnn.mask_rcnn.detector import ExportError

PRODUCTS = ("Conv", "Gemm", "MatMul")
# What integers can go through between two products.
BETWEEN = (
    "Add", "Flatten", "MaxPool", "Pad", "Relu", "Reshape", "Resize", "Slice", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
# Where a map's numbers end: boxes are chosen by them, or only their count is asked for.
ENDS = ("Gather", "GatherElements", "GatherND", "NonMaxSuppression", "RoiAlign", "Shape", "TopK")


def quantize_onnx(source, target, images, total=None, metadata=None):
    """Writes an int8 copy of an ONNX file, its ranges measured on pictures (static quantisation after training).

    Weights are int8 with a scale for each output channel, activations uint8 with a scale for each map, from the least
    to the greatest value that the pictures give. They are written as QuantizeLinear and DequantizeLinear, ONNX's own
    operators, which a runtime merges with what stands between them into integer operators when it loads the file.

    Weights have 7 bits. With 8, pairs of products overflow 16 bits on x86 CPUs that lack VNNI, and the file would find
    other objects there.

    Args:
        source: ONNX file that `export_onnx` wrote, float32.
        target: the file to write; appears whole or not at all.
        images: iterable of uint8 [H, W, 3], RGB, at least one; about a hundred, as the model will see them. Each is
            asked for when its turn comes.
        total: how many images there are, where len() does not tell, for the progress bar with the time left.
        metadata: dict of str to str, what the target's metadata say otherwise than the source's.

    Returns:
        The `Path` of the target. It has the source's inputs, outputs and metadata, but precision "int8".

    Raises:
        ExportError: onnx or onnxruntime is not installed, or there are no images.

    Example:
        >>> quantize_onnx("saved_models/scenes.onnx", "saved_models/scenes-int8.onnx", images)
    """
    _check_installed()
    import onnx

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


def nodes_to_quantize(graph):
    """Names of the operators that become integers.

    These are the products with constant weights whose numbers go into another product, so not the last layers of RPN
    and heads, and what lies between two products.

    Args:
        graph: onnx.GraphProto, its nodes in order and all with names.

    Returns:
        list of str.
    """
    constants = {tensor.name for tensor in graph.initializer}
    # Tensors that a product comes after: in any way, and with nothing but BETWEEN on the way.
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
            wanted = node.input[1] in constants and node.output[0] in before
        else:
            data = node.input if node.op_type == "Add" else node.input[:1]
            wanted = node.op_type in BETWEEN and node.output[0] in close_before and quantized.issuperset(data)
        if wanted:
            names.append(node.name)
            quantized.update(node.output)
    return names


def _check_installed():
    try:
        import onnx  # noqa: F401
        import onnxruntime.quantization  # noqa: F401
    except ImportError as error:
        raise ExportError(f"int8 needs {error.name}: pip install 'keras_mrcnn[onnx]'") from error


def _prepare(source, path):
    """Writes the source as ONNX Runtime simplifies it: biases and pads merged into products, and no needless copies."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    # Symbolic shape inference gives up on shapes that depend on the picture, and types are all that is needed.
    quant_pre_process(str(source), str(path), skip_symbolic_shape=True)
    proto = onnx.load(str(path))
    for number, node in enumerate(proto.graph.node):
        node.name = node.name or f"unnamed_{number}"
    onnx.save(proto, str(path))
    return path


def _measure_ranges(path, names, images):
    """ONNX Runtime's `TensorsData`: least and greatest value of each tensor at the named operators."""
    from onnxruntime.quantization.calibrate import MinMaxCalibrater

    calibrator = MinMaxCalibrater(path, augmented_model_path=str(path.with_name("calibration.onnx")))
    # By itself it takes the operators' types, so also box arithmetic, whose tensors may be empty.
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
    """A session of a file that leaves its operators as they are and frees each map as soon as it is not needed."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Without optimisation there are more maps of more sizes, and an arena keeps room for far more than live at once.
    options.enable_cpu_mem_arena = False
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class _Reader:
    """What ONNX Runtime's calibration reads from: one image after the other, as a batch of one."""

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
    """Names of the float32 tensors that go into the named nodes, and come out, but for constants."""
    from onnx import TensorProto

    wanted, constants = set(names), {tensor.name for tensor in graph.initializer}
    types = {value.name: value.type.tensor_type.elem_type for value in [*graph.value_info, *graph.input, *graph.output]}
    tensors = {name for node in graph.node if node.name in wanted for name in [*node.input, *node.output]}
    return {name for name in tensors - constants if types.get(name) == TensorProto.FLOAT}


def _quantize(path, names, ranges):
    """The onnx.ModelProto of a prepared file with QuantizeLinear and DequantizeLinear around the named operators."""
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
    """Lets Shape read a map's integers: otherwise a runtime makes floats of the whole map only to count them."""
    integers = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    for node in graph.node:
        if node.op_type == "Shape":
            node.input[0] = integers.get(node.input[0], node.input[0])


def _remove_notes(proto):
    """Leaves out what the tools have noted: types of tensors, some of them gone, and sets of operators not used."""
    del proto.graph.value_info[:]
    used = {node.domain for node in proto.graph.node}
    for entry in [entry for entry in proto.opset_import if entry.domain not in used]:
        proto.opset_import.remove(entry)
