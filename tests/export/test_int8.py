import builtins
import gc
import json
import weakref
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from export.models import blank_image, noise_image
from onnx import TensorProto, helper, numpy_helper

from keras_mrcnn.export.folding import _conv_norms
from keras_mrcnn.export.int8 import nodes_to_quantize, quantize_onnx
from keras_mrcnn.mask_rcnn.detector import ExportError

IMAGES = [noise_image(20, 30, seed=seed) for seed in range(3)]


def chain(*nodes, constants=()):
    """A graph of nodes written as "Type name: inputs -> outputs"."""
    made = []
    for text in nodes:
        (op_type, name), tensors = text.split(":")[0].split(), text.split(":")[1]
        inputs, outputs = (part.split() for part in tensors.split("->"))
        made.append(helper.make_node(op_type, inputs, outputs, name=name))
    return helper.make_graph(made, "g", [], [], [numpy_helper.from_array(np.ones(1, np.float32), n) for n in constants])


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([], []),
        # The last product stays as it is, and so do what comes before the first and after the last.
        (["Sub n: x c -> y", "Conv c1: y k1 -> a", "Sigmoid s: a -> z"], []),
        (
            ["Sub n: x c -> y", "Conv c1: y k1 -> a", "Relu r: a -> b", "Conv c2: b k2 -> d", "Sigmoid s: d -> z"],
            ["c1", "r"],
        ),
        # A residual block, and one whose other branch is not of a product.
        (
            ["Conv c1: x k1 -> a", "Conv c2: a k2 -> b", "Add add: a b -> s", "Relu r: s -> t", "Gemm g: t k -> z"],
            ["c1", "c2", "add", "r"],
        ),
        (["Conv c1: x k1 -> a", "Exp e: x -> b", "Add add: a b -> s", "Gemm g: s k -> z"], ["c1"]),
        # A bias is a constant; a way of other operators leads on as well, but stays float32.
        (["MatMul m1: x k1 -> a", "Add add: a k2 -> b", "Tanh t: b -> d", "MatMul m2: d k -> z"], ["m1"]),
        (["MatMul m1: x k1 -> a", "Add add: a k2 -> b", "MatMul m2: b k -> z"], ["m1", "add"]),
        # A product of two tensors counts as the next one, but is not quantized itself.
        (["MatMul m1: x k1 -> a", "MatMul m2: a x -> b", "Gemm g: b k -> z"], ["m1"]),
        # A choice of boxes, and a question for a shape, end the way.
        (["Conv c1: x k1 -> a", "TopK t: a n -> v i", "GatherND g: x i -> b", "MatMul m: b k -> z"], []),
        (["Conv c1: x k1 -> a", "Shape s: a -> n", "Reshape r: x n -> b", "MatMul m: b k -> z"], []),
        # Maps that RoIAlign reads are quantized where another product reads them too.
        (["Conv c1: x k1 -> a", "RoiAlign r: a x x -> b", "Gemm g: b k -> z"], []),
    ],
)
def test_nodes_to_quantize(nodes, expected):
    assert nodes_to_quantize(chain(*nodes, constants=("c", "k", "k1", "k2"))) == expected


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A file of two convolutions and a last one, on pictures; the first has a bias and a pad of its own."""
    random = np.random.default_rng(0)
    arrays = {
        "k1": random.normal(0, 0.4, [8, 3, 3, 3]),
        "b1": random.normal(0, 0.1, [8]),
        "k2": random.normal(0, 0.2, [8, 8, 3, 3]) * np.geomspace(1, 100, 8)[:, None, None, None],
        "k3": random.normal(0, 0.01, [2, 8, 1, 1]),
        "scale": np.float32(1 / 64),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "k1", "b1"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "k2"], ["c"], pads=[1] * 4),
        helper.make_node("Add", ["b", "c"], ["d"]),
        helper.make_node("Conv", ["d", "k3"], ["found"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", "height", "width", 3])
    found = helper.make_tensor_value_info("found", TensorProto.FLOAT, ["batch", 2, "height", "width"])
    weights = [numpy_helper.from_array(np.float32(value), name) for name, value in arrays.items()]
    graph = helper.make_graph(nodes, "small", [images], [found], weights)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(proto, {"class_names": '["cat"]', "precision": "float32", "model_card": "old"})
    path = tmp_path_factory.mktemp("small") / "small.onnx"
    onnx.save(proto, str(path))
    return path


def run(path, image):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"images": image[None]})))


def optimised_types(path, folder):
    """Types of the operators that ONNX Runtime runs."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]


def test_quantizes_a_file(small, tmp_path):
    target = quantize_onnx(small, tmp_path / "new" / "int8.onnx", IMAGES, metadata={"model_card": "new"})
    assert [path.name for path in target.parent.iterdir()] == ["int8.onnx"]
    proto = onnx.load(str(target))
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert metadata == {"class_names": '["cat"]', "precision": "int8", "model_card": "new"}
    assert [entry.domain for entry in proto.opset_import] == [""]

    kernels = [numpy_helper.to_array(t) for t in proto.graph.initializer if t.data_type == TensorProto.INT8]
    kernels = sorted((kernel for kernel in kernels if kernel.ndim == 4), key=lambda kernel: kernel.shape[1])
    assert [kernel.shape for kernel in kernels] == [(8, 3, 3, 3), (8, 8, 3, 3)]
    for kernel in kernels:  # 7 bits, and the largest weight of each channel uses them all
        assert np.abs(kernel.astype(int)).max(axis=(1, 2, 3)).tolist() == [64] * 8

    for image in [IMAGES[0], noise_image(9, 41, seed=7)]:
        exact, rounded = (run(path, image)["found"] for path in (small, target))
        assert exact.shape == rounded.shape
        assert 0 < np.abs(exact - rounded).max() < 0.04 * np.abs(exact).max()


def test_runtime_runs_integers(small, tmp_path):
    types = optimised_types(quantize_onnx(small, tmp_path / "int8.onnx", IMAGES), tmp_path)
    assert types.count("QLinearConv") == 2 and types.count("QLinearAdd") == 1 and types.count("Relu") == 0
    assert types.count("Conv") + types.count("FusedConv") == 1
    assert types.count("QuantizeLinear") == types.count("DequantizeLinear") == 1


def test_float_input(small, tmp_path):
    proto = onnx.load(str(small))
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    onnx.save(proto, str(tmp_path / "float.onnx"))
    of_floats = quantize_onnx(tmp_path / "float.onnx", tmp_path / "int8-float.onnx", IMAGES)
    of_bytes = quantize_onnx(small, tmp_path / "int8.onnx", IMAGES)
    found, expected = run(of_floats, IMAGES[0].astype(np.float32)), run(of_bytes, IMAGES[0])
    np.testing.assert_array_equal(found["found"], expected["found"])


def test_keeps_one_image_at_a_time(small, tmp_path):
    seen = []

    def images():
        for number in range(4):
            gc.collect()
            assert all(reference() is None for reference in seen[:-1])
            image = noise_image(8, 8, seed=number)
            seen.append(weakref.ref(image))
            yield image
            del image

    quantize_onnx(small, tmp_path / "int8.onnx", images(), total=4)
    assert len(seen) == 4


def test_needs_images(small, tmp_path):
    with pytest.raises(ExportError, match="no images to measure the ranges of int8 on"):
        quantize_onnx(small, tmp_path / "int8.onnx", iter([]))
    assert list(tmp_path.iterdir()) == []


def test_replaces_a_file_whole(small, tmp_path, monkeypatch):
    target = tmp_path / "int8.onnx"
    target.write_bytes(b"before")

    def fail(self, data):
        self.open("wb").close()
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        quantize_onnx(small, target, IMAGES[:1])
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("int8.onnx", b"before")]


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime.quantization"])
def test_names_the_extra_that_is_missing(small, tmp_path, monkeypatch, missing):
    real = builtins.__import__

    def hide(name, *args, **kwargs):
        if name == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", hide)
    with pytest.raises(ExportError, match=rf"needs {missing}: pip install 'keras_mrcnn\[onnx\]'"):
        quantize_onnx(small, tmp_path / "int8.onnx", IMAGES)


@pytest.fixture(scope="module")
def quantized(exported, tmp_path_factory):
    folder = tmp_path_factory.mktemp("int8")
    return quantize_onnx(exported.onnx_path, folder / "int8.onnx", [noise_image(97, 131, seed) for seed in range(4)])


def test_of_a_detector_only_last_layers_stay(exported, quantized, tmp_path):
    model, types = exported.detector.model, optimised_types(quantized, tmp_path)
    is_fpn = model.config.neck.kind == "fpn"
    levels = 5 if is_fpn else 1
    assert types.count("QLinearConv") == len(list(_conv_norms(model))) + (levels - 1) * len(model.rpn.convs)
    assert types.count("Conv") + types.count("FusedConv") == 2 * levels  # objectness and deltas
    products = len(model.box_head.dense) + 1  # and the mask head's upsampling
    assert types.count("QGemm") + types.count("QLinearMatMul") == products
    residual_blocks = sum(map(len, model.backbone.stages))
    assert types.count("QLinearAdd") >= residual_blocks + (3 if is_fpn else 0) and types.count("Relu") == 0


def test_of_a_detector_shapes_ask_for_no_floats(quantized):
    graph = onnx.load(str(quantized)).graph
    kinds = {node.output[0]: node.op_type for node in graph.node}
    readers = [kinds.get(node.input[0]) for node in graph.node if node.op_type == "Shape"]
    assert "QuantizeLinear" in readers and "DequantizeLinear" not in readers


def test_of_a_detector_finds_much_the_same(exported, quantized):
    metadata = {entry.key: entry.value for entry in onnx.load(str(quantized)).metadata_props}
    assert json.loads(metadata["class_names"]) == ["car", "person", "dog"] and metadata["precision"] == "int8"
    image = noise_image(97, 131, seed=9)
    exact, rounded = (run(path, image) for path in (exported.onnx_path, quantized))
    assert {name: value.shape for name, value in exact.items()} == {name: v.shape for name, v in rounded.items()}
    assert np.abs(exact["scores"][0, :5] - rounded["scores"][0, :5]).max() < 0.2
    assert run(quantized, blank_image(60, 40))["valid"].tolist() == [0]
