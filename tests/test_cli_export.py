"""`keras-mrcnn export`: what is written under which name, what a variant loses, and what is wrong in one line."""

from __future__ import annotations

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image
from small_models import small_config

from keras_mrcnn.base.records import Detections
from keras_mrcnn.cli import export_accuracy, main
from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.export import onnx, saved_model
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.serving.onnx_predictor import OnnxPredictor

BOX = (10.0, 5.0, 30.0, 25.0)
NAMES, IDS = ("cat", "dog", "kite"), (7, 8, 9)


def run(*arguments):
    """Runs `keras-mrcnn export` and returns click's result; `output` has stdout and stderr."""
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


def output(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def error(*arguments, code=2):
    result = run(*arguments)
    assert result.exit_code == code, result.output
    return result.output.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A weight file that finds something everywhere, without training."""
    keras.utils.set_random_seed(1)
    box_head = {"score_threshold": 0.0, "max_detections": 5}
    config = small_config(class_names=NAMES, category_ids=IDS, min_size=64, max_size=96, box_head=box_head)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    MaskRCNN(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Train and val of five images each, in each one cat at BOX. The model's other classes are not there; owls are."""
    folder, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    x0, y0, x1, y1 = BOX
    object_ = {"category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": 0}
    object_["segmentation"] = [[x0, y0, x1, y0, x1, y1, x0, y1]]
    numbers = range(1, 6)
    content = {
        "images": [{"id": number, "file_name": f"{number}.png", "height": 48, "width": 64} for number in numbers],
        "annotations": [{"id": number, "image_id": number, **object_} for number in numbers],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "owl"}],
    }
    (folder / "annotations").mkdir()
    for split in ("train", "val"):
        (folder / "annotations" / f"{split}.json").write_text(json.dumps(content))
        (folder / "images" / split).mkdir(parents=True)
        for number in numbers:
            pixels = random.integers(0, 256, (48, 64, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "images" / split / f"{number}.png")
    return folder


def found(*names):
    """Detections at BOX of the classes, in the model's numbers."""
    count = len(names)
    ids = [IDS[NAMES.index(name)] for name in names]
    masks = np.ones([count, 28, 28])
    return Detections(np.tile(BOX, [count, 1]), np.full(count, 0.9), np.int32(ids), names, masks, (48, 64))


class Constant(tf.Module):
    """A SavedModel that finds a cat at BOX in whatever it gets."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, "images")])
    def detect(self, images):
        padded = {"boxes": [BOX, [0.0] * 4], "scores": [0.9, 0.0], "category_ids": [7, 0], "valid": 1}
        masks = tf.fill([1, 2, 28, 28], tf.constant(255, tf.uint8))
        return {"masks": masks, **{name: tf.constant([value]) for name, value in padded.items()}}


def write_constant(path):
    module = Constant()
    tf.saved_model.save(module, str(path), signatures={"detect": module.detect})
    return path


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Arguments of the exports, which do not take place."""
    made = []

    def export_saved_model(model, folder, version=None, precision="float32", metrics=None):
        made.append(("saved_model", folder.relative_to(tmp_path).as_posix(), version, precision, metrics))
        return write_constant(folder / "1") if precision == "bfloat16" else folder / "1"

    def export_onnx(model, path, input_dtype="uint8", metrics=None):
        made.append(("onnx", path.relative_to(tmp_path).as_posix(), input_dtype, metrics))
        return path

    monkeypatch.setattr(saved_model, "export_saved_model", export_saved_model)
    monkeypatch.setattr(onnx, "export_onnx", export_onnx)
    return made


SAVED, ONNX = ("saved_model", "a", None, "float32", None), ("onnx", "a.onnx", "uint8", None)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", [SAVED, ONNX]),
        ("--format saved_model --version 3", [("saved_model", "a", 3, "float32", None)]),
        ("--format onnx --onnx-input float32", [("onnx", "a.onnx", "float32", None)]),
        ("--precision bfloat16", [("saved_model", "a-bfloat16", None, "bfloat16", None)]),
        ("--precision bfloat16 --format saved_model --version 2", [("saved_model", "a-bfloat16", 2, "bfloat16", None)]),
    ],
)
def test_what_is_exported(weights, calls, tmp_path, arguments, expected):
    said = output(weights, "--name", "a", "--out", tmp_path, *arguments.split())
    assert calls == expected
    assert said.count("Wrote the ") == len(expected) and "AP" not in said


def test_metrics_of_a_run_are_passed_on(weights, calls, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(weights, folder / "model.safetensors")
    (folder / "evaluation.json").write_text('{"box": {"AP": 0.5}}')
    output(folder, "--name", "a", "--out", tmp_path)
    assert [call[-1] for call in calls] == [{"box": {"AP": 0.5}}] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--name a/b", "no slashes"),
        ("--name ..", "no slashes"),
        ("--name a --version 0", "is not in the range"),
        ("--name a --format onnx --version 2", "--version is of the SavedModel"),
        ("--name a --precision int8 --version 2 --data .", "--version is of the SavedModel"),
        ("", "Missing option '--name'"),
        ("--name a --precision bfloat16 --format onnx", "kernels do not compute in it"),
        ("--name a --precision int8 --format saved_model --data .", "int8 is an ONNX file only"),
        ("--name a --precision int8", "name a COCO data set with --data"),
        ("--name a --data .", "use `keras-mrcnn evaluate`"),
        ("--name a --format saved_model --onnx-input float32", "--onnx-input is of the ONNX file"),
        ("--name a --precision int8 --data nowhere", "does not exist"),
    ],
)
def test_refuses(weights, arguments, message):
    assert message in error(weights, *arguments.split())


def test_data_are_looked_at_first(weights, calls, tmp_path):
    for precision in ("bfloat16", "int8"):
        line = error(weights, "--name", "a", "--out", tmp_path, "--precision", precision, "--data", tmp_path, code=1)
        path = tmp_path / "annotations" / "val.json"
        assert line == f"keras-mrcnn: annotation file {path} does not exist; check the path"
    assert calls == []


@pytest.fixture(scope="module")
def written(weights, tmp_path_factory):
    """The folder of all models, and what was said."""
    folder = tmp_path_factory.mktemp("written") / "saved_models"
    return folder, output(weights, "--name", "demo", "--out", folder)


def test_writes_both_forms(written):
    folder, said = written
    assert (folder / "demo" / "1" / "saved_model.pb").is_file()
    assert (folder / "demo.onnx").is_file()
    # TF Serving takes every folder for a version.
    assert [path.name for path in (folder / "demo").iterdir()] == ["1"]
    assert f"Wrote the SavedModel to {folder / 'demo' / '1'}.\n" in said
    assert f"Wrote the ONNX model to {folder / 'demo.onnx'}.\n" in said


def test_int8_and_its_loss(weights, written, data, monkeypatch, tmp_path):
    """Its float32 file is the one that is there already, to save time."""
    monkeypatch.setattr(onnx, "export_onnx", lambda model, path, **kwargs: shutil.copy(written[0] / "demo.onnx", path))
    arguments = ("--calibration-images", 2, "--score-images", 3)
    said = output(weights, "--name", "demo", "--out", tmp_path, "--precision", "int8", "--data", data, *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["demo-int8.onnx"]
    assert f"Wrote the ONNX model to {tmp_path / 'demo-int8.onnx'}.\n" in said
    table = said[said.index("AP on 3 images of") :].splitlines()[1:]
    assert [line.split()[:-3] for line in table[1:]] == [[s, m] for s in ("box", "mask") for m in ("AP", "AP50")]
    predictor = OnnxPredictor(tmp_path / "demo-int8.onnx")
    assert predictor.class_names == NAMES
    assert len(predictor(data / "images" / "val" / "1.png")) == 5


def test_loss_of_bfloat16(weights, data, calls, monkeypatch, tmp_path):
    """Float32 finds nothing, the SavedModel of `Constant` everything."""
    monkeypatch.setattr(MaskRCNN, "predict", lambda self, pictures: [Detections.empty((48, 64))])
    said = output(weights, "--name", "a", "--out", tmp_path, "--precision", "bfloat16", "--data", data)
    assert said.splitlines()[-6:-3] == [
        f"AP on 5 images of {data / 'images' / 'val'}:",
        "             float32   bfloat16  difference",
        "box AP        0.0000     1.0000     +1.0000",
    ]
    assert said.splitlines()[-1] == "mask AP50     0.0000     1.0000     +1.0000"


# The scores behind the table


def test_scores_of_each_detector(data):
    dataset = CocoDataset(data / "annotations" / "val.json", data / "images" / "val", ["cat"])
    seen = []

    def first(image):
        seen.append(image)
        return found("cat", "kite")

    both = export_accuracy.find(dataset, [2, 5], (first, lambda image: found("kite")))
    np.testing.assert_array_equal(seen, [dataset.load_image(2), dataset.load_image(5)])
    assert [(result["image_id"], result["category_id"]) for result in both[0]] == [(2, 1), (5, 1)]
    assert both[1] == []
    perfect = export_accuracy.score(dataset, [2, 5], both[0])
    assert perfect["box", "AP"] == perfect["box", "AP50"] == perfect["mask", "AP50"] == pytest.approx(1)
    # Only two of five images count.
    assert export_accuracy.score(dataset, [2, 3, 5, 1], both[0])["box", "AP50"] == pytest.approx(0.5, abs=0.01)
    assert set(export_accuracy.score(dataset, [2], both[1]).values()) == {0.0}


def test_images_are_spread_evenly(data):
    dataset = CocoDataset(data / "annotations" / "val.json", data / "images" / "val")
    chosen = {count: export_accuracy.choose_images(dataset, count) for count in (None, 1, 2, 3, 5, 9)}
    everything = [1, 2, 3, 4, 5]
    assert chosen == {None: everything, 1: [1], 2: [1, 3], 3: [1, 2, 4], 5: everything, 9: everything}


def test_table():
    before = {("box", "AP"): 0.51234, ("mask", "AP50"): None, ("mask", "AP"): 0.25}
    after = {("box", "AP"): 0.50991, ("mask", "AP50"): None, ("mask", "AP"): 0.25}
    assert export_accuracy.format_ap_change(before, after, "int8").splitlines() == [
        "             float32       int8  difference",
        "box AP        0.5123     0.5099     -0.0024",
        "mask AP50          -          -           -",
        "mask AP       0.2500     0.2500     +0.0000",
    ]
