import builtins
import json
import logging
from pathlib import Path

import onnx
import pytest
from export.models import confident_model

import keras_mrcnn
from keras_mrcnn.export import onnx as export
from keras_mrcnn.mask_rcnn.detector import ExportError


def operators(graph):
    """The types of all operators, those in subgraphs too."""
    for node in graph.node:
        yield node.op_type
        for attribute in node.attribute:
            yield from operators(attribute.g)


def test_native_operators_and_no_loop(exported):
    found = list(operators(onnx.load(str(exported.onnx_path)).graph))
    levels = 4 if exported.detector.model.config.neck.kind == "fpn" else 1
    assert found.count("RoiAlign") == 2 * levels  # boxes, masks
    assert found.count("NonMaxSuppression") == 2  # proposals, detections
    assert not {"Loop", "Scan", "If"} & set(found)


def test_inputs_outputs_and_metadata(exported):
    model = onnx.load(str(exported.onnx_path))
    shapes = {
        value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    assert shapes == {
        "images": ["batch", "height", "width", 3],
        "boxes": ["batch", 40, 4],
        "scores": ["batch", 40],
        "category_ids": ["batch", 40],
        "valid": ["batch"],
        "masks": ["batch", 40, 28, 28],
    }
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["class_names"]) == ["car", "person", "dog"]
    assert json.loads(metadata["category_ids"]) == [3, 7, 90]
    assert json.loads(metadata["config"]) == exported.detector.model.config.model_dump(mode="json")
    assert metadata["version"] == keras_mrcnn.__version__
    assert model.opset_import[0].version == 17


def test_leaves_no_other_file(exported):
    assert sorted(path.name for path in exported.onnx_path.parent.iterdir()) == ["model.onnx", "saved"]


@pytest.fixture
def without_conversion(monkeypatch):
    """Conversion takes seconds; these tests are about what surrounds it."""
    value = onnx.helper.make_tensor_value_info
    spec = {"images": onnx.TensorProto.UINT8, "valid": onnx.TensorProto.INT32}
    images, valid = (value(name, kind, [None]) for name, kind in spec.items())

    def convert(detector, op_type="Cast"):
        attributes = {"to": onnx.TensorProto.INT32} if op_type == "Cast" else {}
        node = onnx.helper.make_node(op_type, ["images"], ["valid"], **attributes)
        graph = onnx.helper.make_graph([node], "graph", [images], [valid])
        return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)

    monkeypatch.setattr(export, "_convert", convert)
    monkeypatch.setattr(export, "_name_dimensions", lambda proto, detector: None)
    return convert


@pytest.fixture(scope="module")
def model():
    return confident_model()


def test_replaces_a_file_whole(model, tmp_path, without_conversion, monkeypatch):
    path = tmp_path / "new" / "model.onnx"
    assert export.export_onnx(model, str(path)) == path
    before = path.read_bytes()
    onnx.checker.check_model(onnx.load(str(path)))

    def fail(self, data):
        self.open("wb").close()
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        export.export_onnx(model, path)
    assert path.read_bytes() == before
    assert [child.name for child in path.parent.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize(
    ("op_type", "message"),
    [("MatrixBandPart", "no ONNX form: MatrixBandPart"), ("Loop", "the graph has a Loop")],
)
def test_refuses_what_a_runtime_would(model, tmp_path, without_conversion, monkeypatch, op_type, message):
    monkeypatch.setattr(export, "_convert", lambda detector: without_conversion(detector, op_type))
    with pytest.raises(ExportError, match=message):
        export.export_onnx(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["onnx", "tf2onnx"])
def test_names_the_extra_that_is_missing(model, tmp_path, monkeypatch, missing):
    real = builtins.__import__

    def hide(name, *args, **kwargs):
        if name == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", hide)
    with pytest.raises(ExportError, match=rf"needs {missing}: pip install 'keras_mrcnn\[onnx\]'"):
        export.export_onnx(model, tmp_path / "model.onnx")


def test_the_log_is_as_loud_afterwards():
    logger = logging.getLogger("tf2onnx")
    before = logger.level
    with pytest.raises(KeyError), export._quiet():
        assert logger.level == logging.ERROR
        raise KeyError
    assert logger.level == before
