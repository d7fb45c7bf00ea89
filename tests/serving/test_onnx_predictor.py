"""The predictor on a graph that can be worked out by hand, and on an exported model beside `Detector`."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from child_programs import child_environment
from export.models import assert_same, blank_image, confident_model, noise_image
from PIL import Image

import keras_mrcnn
from keras_mrcnn.base.image_files import ImageError
from keras_mrcnn.export.onnx import export_onnx
from keras_mrcnn.mask_rcnn.detector import Detector
from keras_mrcnn.serving.onnx_predictor import ModelFileError, OnnxPredictor

# Finds one object in every image that is not black: its box is the image, its score the mean value.
GRAPH = """
<ir_version: 8, opset_import: ["" : 17]>
detector (DTYPE[batch, height, width, 3] images) => (
    float[batch, 1, 4] boxes, float[batch, 1] scores, int32[batch, 1] category_ids, int32[batch] valid,
    uint8[batch, 1, 28, 28] masks
) {
    values = Cast <to = 1> (images)
    white = Constant <value = float {255.0}> ()
    zero = Constant <value = float {0.0}> ()
    means = ReduceMean <axes = [1, 2, 3], keepdims = 0> (values)
    light = Div (means, white)
    last = Constant <value = int64[1] {1}> ()
    scores = Unsqueeze (light, last)
    found = Greater (light, zero)
    valid = Cast <to = 6> (found)
    shape = Shape (images)
    count = Shape <start = 0, end = 1> (images)
    turned = Constant <value = int64[2] {2, 1}> ()
    corner = Gather (shape, turned)
    far = Cast <to = 1> (corner)
    near = Constant <value = float[2] {0.0, 0.0}> ()
    box = Concat <axis = 0> (near, far)
    row = Constant <value = int64[2] {1, 4}> ()
    to_boxes = Concat <axis = 0> (count, row)
    boxes = Expand (box, to_boxes)
    category = Constant <value = int32[1] {7}> ()
    to_ids = Concat <axis = 0> (count, last)
    category_ids = Expand (category, to_ids)
    mask = Constant <value = uint8[1] {51}> ()
    square = Constant <value = int64[3] {1, 28, 28}> ()
    to_masks = Concat <axis = 0> (count, square)
    masks = Expand (mask, to_masks)
}
"""
METADATA = {"class_names": ["car", "dog"], "category_ids": [3, 7], "config": {"min_size": 800}}


def write_graph(path, dtype="uint8", **changes):
    """Writes GRAPH with METADATA changed; None leaves an entry out."""
    proto = onnx.parser.parse_model(GRAPH.replace("DTYPE", dtype))
    entries = {key: json.dumps(value) for key, value in METADATA.items()} | {"version": "9.9"} | changes
    onnx.helper.set_model_props(proto, {key: value for key, value in entries.items() if value is not None})
    onnx.save(proto, str(path))
    return path


@pytest.fixture(scope="module", params=["uint8", "float"])
def predictor(request, tmp_path_factory):
    return OnnxPredictor(write_graph(tmp_path_factory.mktemp("graph") / "model.onnx", request.param), threads=1)


@pytest.fixture
def graph(tmp_path):
    return write_graph(tmp_path / "model.onnx")


def test_knows_what_the_file_says(graph):
    predictor = OnnxPredictor(str(graph), providers=["CPUExecutionProvider"])
    assert predictor.class_names == ("car", "dog")
    assert predictor.category_ids == (3, 7)
    assert predictor.config == {"min_size": 800}
    assert predictor.version == "9.9"


def test_one_image_of_every_kind(predictor, tmp_path):
    grey = np.full((4, 6), 102, np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    colour = np.dstack([grey, grey, grey])
    for image in (grey, colour, Image.fromarray(colour), tmp_path / "grey.png", str(tmp_path / "grey.png")):
        found = predictor(image)
        assert found.image_size == (4, 6)
        assert found.boxes.tolist() == [[0, 0, 6, 4]]
        assert found.scores.tolist() == [pytest.approx(0.4)]
        assert (found.category_ids.tolist(), found.class_names) == ([7], ("dog",))
        assert found.masks.shape == (1, 28, 28) and np.unique(found.masks).tolist() == [np.float32(0.2)]


def test_image_is_turned_upright(predictor, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.full((4, 6), 9, np.uint8)).save(tmp_path / "turned.png", exif=exif)
    found = predictor(tmp_path / "turned.png")
    assert found.image_size == (6, 4) and found.boxes.tolist() == [[0, 0, 4, 6]]


def test_nothing_found(predictor):
    found = predictor(np.zeros((1, 1, 3), np.uint8))
    assert len(found) == 0 and found.paste_masks().shape == (0, 1, 1)


def test_batch_shares_runs_between_images_of_one_size(predictor, monkeypatch):
    session, runs = predictor._session, []

    class Session:
        def run(self, names, inputs):
            runs.append(next(iter(inputs.values())).shape)
            return session.run(names, inputs)

    monkeypatch.setattr(predictor, "_session", Session())
    sizes = [(4, 6), (5, 5), (4, 6), (6, 4), (4, 6)]
    images = [np.full(size, 51 * number, np.uint8) for number, size in enumerate(sizes)]
    found = predictor.batch(iter(images), batch_size=2)
    assert runs == [(2, 4, 6, 3), (1, 4, 6, 3), (1, 5, 5, 3), (1, 6, 4, 3)]
    assert [one.image_size for one in found] == sizes
    assert [one.scores.tolist() for one in found] == [[]] + [[pytest.approx(0.2 * number)] for number in range(1, 5)]
    assert predictor.batch([]) == []
    assert len(predictor.batch(np.zeros((3, 4, 6, 3), np.uint8))) == 3


def test_bad_images_are_named_and_nothing_is_run(predictor, tmp_path, monkeypatch):
    monkeypatch.setattr(predictor, "_session", None)
    (tmp_path / "text.jpg").write_text("no picture")
    good = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(ImageError, match=r"text\.jpg is not an image"):
        predictor(tmp_path / "text.jpg")
    with pytest.raises(ImageError, match=r"^image is float64 \[2, 2, 3\], expected a uint8 array"):
        predictor(good / 255)
    with pytest.raises(ImageError, match=r"^images\[1\] is uint8 \[2, 2, 4\], expected a uint8 array"):
        predictor.batch([good, np.zeros((2, 2, 4), np.uint8)])
    for one in (good, "street.jpg", Image.fromarray(good)):
        with pytest.raises(ImageError, match="batch takes a list of images; for one image call the predictor itself"):
            predictor.batch(one)
    with pytest.raises(ValueError, match="batch_size is 0, expected at least 1"):
        predictor.batch([good], batch_size=0)


def test_files_that_are_no_onnx(tmp_path):
    with pytest.raises(ModelFileError, match=r"model file .*none\.onnx does not exist"):
        OnnxPredictor(tmp_path / "none.onnx")
    for content in (b"", b"no model", np.random.default_rng(0).bytes(500)):
        (tmp_path / "model.onnx").write_bytes(content)
        with pytest.raises(ModelFileError, match=r"model\.onnx is not an ONNX file that ONNX Runtime") as caught:
            OnnxPredictor(tmp_path / "model.onnx")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["class_names", "category_ids", "config", "version"])
def test_file_without_our_metadata(tmp_path, key):
    path = write_graph(tmp_path / "model.onnx", **{key: None})
    with pytest.raises(ModelFileError, match=rf"model\.onnx is not a detector .*it has no metadata {key}"):
        OnnxPredictor(path)


def test_file_with_damaged_metadata(tmp_path):
    path = write_graph(tmp_path / "model.onnx", class_names='["car"')
    with pytest.raises(ModelFileError, match=r"model\.onnx is not a detector .*its metadata are damaged"):
        OnnxPredictor(path)


def turn_to_double(value):
    value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda graph: graph.output.pop(), "it has no output masks"),
        (lambda graph: turn_to_double(graph.input[0]), r"its input is images tensor\(double\)"),
        (lambda graph: graph.input.add().CopyFrom(onnx.helper.make_tensor_value_info("more", 1, [1])), "more tensor"),
    ],
)
def test_file_with_other_inputs_and_outputs(graph, change, said):
    proto = onnx.load(str(graph))
    change(proto.graph)
    onnx.save(proto, str(graph))
    with pytest.raises(ModelFileError, match=rf"model\.onnx is not a detector .*{said}"):
        OnnxPredictor(graph)


def test_bad_settings(graph, monkeypatch):
    with pytest.raises(ValueError, match="threads is 0, expected at least 1"):
        OnnxPredictor(graph, threads=0)
    for provider in ("Abacus", ("Abacus", {})):
        with pytest.raises(ValueError, match="no provider Abacus; it has .*CPUExecutionProvider"):
            OnnxPredictor(graph, providers=[provider])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"needs onnxruntime: pip install 'keras_mrcnn\[onnx\]'"):
        OnnxPredictor(graph)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(Detector, path of its ONNX file) of the small model; the conversion takes seconds."""
    model = confident_model()
    return Detector(model), export_onnx(model, tmp_path_factory.mktemp("exported") / "model.onnx")


def as_outputs(found):
    """The arrays of one `Detections` as the model gives them: with a batch dimension, masks as bytes."""
    return {
        "boxes": found.boxes[None],
        "scores": found.scores[None],
        "category_ids": found.category_ids[None],
        "valid": np.int32([len(found)]),
        "masks": np.round(found.masks * 255).astype(np.uint8)[None],
    }


def test_gives_the_detections_of_the_detector(exported):
    detector, path = exported
    predictor = OnnxPredictor(path)
    assert predictor.class_names == detector.class_names
    assert predictor.category_ids == detector.category_ids
    assert predictor.config == detector.model.config.model_dump(mode="json")
    assert predictor.version == keras_mrcnn.__version__
    images = [noise_image(97, 131), blank_image(40, 60), noise_image(97, 131, seed=1)]
    expected = detector(images)
    assert [len(one) > 5 for one in expected] == [True, False, True]
    for found in (predictor.batch(images), [predictor(image) for image in images]):
        for one, wanted in zip(found, expected):
            assert one.image_size == wanted.image_size
            assert len(one) == len(wanted)
            if len(wanted):
                assert_same(as_outputs(one), as_outputs(wanted))


CHILD = """
import sys
for name in ("tensorflow", "keras", "pycocotools", "skimage", "matplotlib", "onnx", "pydantic"):
    sys.modules[name] = None
import numpy as np
from keras_mrcnn.serving.onnx_predictor import OnnxPredictor

model, picture, out = sys.argv[1:]
found = OnnxPredictor(model)(picture)
pixels = found.paste_masks().sum(axis=(1, 2))
np.savez(out, boxes=found.boxes, scores=found.scores, category_ids=found.category_ids, masks=found.masks, pixels=pixels)
"""


def test_predicts_where_tensorflow_is_not_installed(exported, tmp_path):
    detector, path = exported
    image = noise_image(97, 131)
    Image.fromarray(image).save(tmp_path / "picture.png")
    command = [sys.executable, "-c", CHILD, path, tmp_path / "picture.png", tmp_path / "found.npz"]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (expected,) = detector([image])
    found = dict(np.load(tmp_path / "found.npz"))
    assert (found.pop("pixels") > 0).any()
    found["masks"] = np.round(found["masks"] * 255).astype(np.uint8)
    outputs = {"valid": [len(found["scores"])], **{name: value[None] for name, value in found.items()}}
    assert_same(outputs, as_outputs(expected))
