"""scripts/compare_exports.py: what it calls the same, a tie and unlike; and its processes, with fakes."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from export.models import confident_model, noise_image
from PIL import Image

import keras_mrcnn
from keras_mrcnn.mask_rcnn.detector import Detector

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
THRESHOLD, NMS_IOU = 0.05, 0.5


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(SCRIPTS))
    try:
        yield importlib.import_module("compare_exports")
    finally:
        sys.path.remove(str(SCRIPTS))


def image_result(*detections, room=4, masks="probabilities"):
    """Outputs for an image of (category id, score, x0) each: boxes 10 px wide; the mask is all 0.5, or 128 of 255."""
    count = len(detections)
    ids, scores, lefts = (np.array(column) for column in zip(*detections)) if detections else ([], [], [])
    boxes = [[left, 0.0, left + 10.0, 10.0] for left in lefts]
    shape = (count, 2, 2)
    return {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "scores": np.array(scores, np.float64),
        "category_ids": np.array(ids, np.int32),
        "full": count == room,
        masks: np.full(shape, 0.5) if masks == "probabilities" else np.full(shape, 128, np.uint8),
    }


def compared(script, found, expected, room=4):
    result = script.Comparison("fake")
    found, expected = image_result(*found, room=room, masks="masks"), image_result(*expected, room=room)
    result.add("a.jpg", found, expected, THRESHOLD, NMS_IOU)
    return result


def test_the_same(script):
    detections = [(3, 0.9, 0.0), (3, 0.8, 50.0), (7, 0.8, 50.0)]
    result = compared(script, detections, detections)
    assert (result.images, result.detections, result.unlike) == (1, 3, [])
    assert (result.order, result.ties, result.score, result.box) == (0, 0, 0.0, 0.0)
    assert result.mask == pytest.approx(128 / 255 - 0.5)
    assert result.meets_goals()


def test_greatest_differences(script):
    result = compared(script, [(3, 0.9 + 2e-4, 0.0), (3, 0.8, 50.25)], [(3, 0.9, 0.0), (3, 0.8, 50.0)])
    assert result.unlike == [] and not result.meets_goals()
    assert (result.score, result.box) == (pytest.approx(2e-4), 0.25)


def test_nothing_found(script):
    result = compared(script, [], [])
    assert (result.images, result.detections, result.unlike, result.mask) == (1, 0, [], 0.0)
    assert compared(script, [], [(3, 0.9, 0.0)]).unlike == ["a.jpg"]
    assert compared(script, [(3, 0.9, 0.0)], []).unlike == ["a.jpg"]


@pytest.mark.parametrize(
    "found",
    [
        [(3, 0.9, 0.0), (3, 0.8, 50.0)],  # one more
        [(7, 0.9, 0.0)],  # another label
        [(3, 0.9, 1.5)],  # elsewhere, with a score that is no tie...
        [(3, 0.9, 0.5), (3, 0.9, 0.25)],  # one partner is not for two
    ],
)
def test_unlike(script, found):
    result = compared(script, found, [(3, 0.7, 0.0)])
    assert result.unlike == ["a.jpg"] and result.ties == 0


def test_nms_ties(script):
    # ... but where the scores tie, NMS may have kept the other of two overlapping boxes.
    result = compared(script, [(3, 0.9, 4.0)], [(3, 0.9 + 5e-7, 0.0)])
    assert (result.unlike, result.ties) == ([], 1)
    assert compared(script, [(7, 0.9, 4.0)], [(3, 0.9, 0.0)]).unlike == ["a.jpg"]


def test_threshold_ties(script):
    result = compared(script, [(3, 0.9, 0.0)], [(3, 0.9, 0.0), (7, THRESHOLD + 5e-7, 50.0)])
    assert (result.unlike, result.ties) == ([], 1)


def test_overlaps_at_the_limit_of_nms_are_ties(script):
    # Boxes of 10 pixels that are 10 / 3 apart have an IoU of one half.
    result = compared(script, [(3, 0.9, 0.0), (3, 0.6, 10 / 3)], [(3, 0.9, 0.0)])
    assert (result.unlike, result.ties) == ([], 1)
    assert compared(script, [(3, 0.9, 0.0), (3, 0.6, 3.34)], [(3, 0.9, 0.0)]).unlike == ["a.jpg"]
    assert compared(script, [(3, 0.9, 0.0), (7, 0.6, 10 / 3)], [(3, 0.9, 0.0)]).unlike == ["a.jpg"]


def test_ties_where_the_list_is_full(script):
    found, expected = [(3, 0.9, 0.0), (3, 0.5, 50.0)], [(3, 0.9, 0.0), (7, 0.5, 90.0)]
    full = compared(script, found, expected, room=2)
    assert (full.unlike, full.ties) == ([], 1)
    assert compared(script, found, expected, room=3).unlike == ["a.jpg"]


def test_order(script):
    tied = compared(script, [(3, 0.9, 0.0), (7, 0.9, 50.0)], [(7, 0.9, 50.0), (3, 0.9, 0.0)])
    assert (tied.unlike, tied.ties, tied.order) == ([], 2, 0)
    near = compared(script, [(3, 0.90001, 0.0), (7, 0.9, 50.0)], [(7, 0.90001, 50.0), (3, 0.9, 0.0)])
    assert (near.unlike, near.ties, near.order) == ([], 0, 2)


def test_padding_goes(script):
    answers = {
        "boxes": np.zeros([1, 4, 4], np.float32),
        "scores": np.array([[0.9, 0.5, 0.0, 0.0]], np.float32),
        "category_ids": np.array([[3, 7, 0, 0]]),
        "valid": np.array([2]),
        "masks": np.zeros([1, 4, 2, 2], np.uint8),
    }
    found = script.unpadded({name: value[0] for name, value in answers.items()})
    assert found["category_ids"].tolist() == [3, 7] and not found["full"] and "valid" not in found
    expected = {**found, "probabilities": np.zeros([2, 2, 2])}
    result = script.compare("fake", ["a.jpg"], answers, [expected], THRESHOLD, NMS_IOU)
    assert (result.images, result.detections, result.unlike) == (1, 2, [])
    assert script.unpadded({"valid": np.int32(2), "scores": np.ones(2)})["full"]


def test_table(script):
    rows = script.table([script.Comparison("fake", 150, 2310, ["a.jpg"], 2, 3, 3.1e-6, 1.2e-4, 1.97e-3)]).splitlines()
    assert " ".join(rows[0].split()) == "runtime images detections unlike order ties score box, px mask"
    assert rows[1].split() == ["fake", "150", "2310", "1", "2", "3", "3.1e-06", "1.2e-04", "1.97e-03"]
    assert rows[2].split() == ["goal", "0", "1e-04", "5e-02", "2e-03"]


def test_newest_version(script, tmp_path):
    with pytest.raises(click.UsageError, match="neither a saved_model.pb nor versions"):
        script.newest_version(tmp_path)
    for name in ("2", "10", "notes"):
        (tmp_path / name).mkdir()
    assert script.newest_version(tmp_path) == tmp_path / "10"
    (tmp_path / "saved_model.pb").touch()
    assert script.newest_version(tmp_path) == tmp_path


def test_what_there_is_to_compare(script):
    with pytest.raises(click.UsageError, match="nothing to compare"):
        script.runtimes(None, None, sys.executable)
    found = script.runtimes(None, Path("m.onnx"), "/other/python")
    assert [(runtime, python) for _, runtime, _, python in found] == [
        ("onnxruntime", sys.executable),
        ("openvino", "/other/python"),
    ]


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.full([4, 6, 3], 7, np.uint8)).save(path)
    return path


def fake_program(tmp_path, monkeypatch, script, body):
    """The program of the processes with a runtime "fake": `body` is what its opening does with `path`."""
    program = tmp_path / "run_fake.py"
    source = (SCRIPTS / "run_exported.py").read_text("utf-8")
    opening = f"def open_fake(path):\n    {body}\n\n\nRUNTIMES = {{'fake': open_fake,"
    program.write_text(source.replace("RUNTIMES = {", opening), "utf-8")
    monkeypatch.setattr(script, "PROGRAM", program)


def test_a_process_of_its_own(script, tmp_path, picture, monkeypatch):
    body = "return lambda image: {'sum': np.array([image.sum()]), 'shape': [image.shape]}"
    fake_program(tmp_path, monkeypatch, script, body)
    answers = script.run_runtime("fake", "m.onnx", [picture, picture])
    assert answers["sum"].tolist() == [7 * 72] * 2 and answers["shape"].tolist() == [[4, 6, 3]] * 2


def test_this_package_is_hidden_from_it(script, tmp_path, picture, monkeypatch):
    fake_program(tmp_path, monkeypatch, script, "import keras_mrcnn")
    with pytest.raises(script.NotInstalledError, match="keras_mrcnn is not installed"):
        script.run_runtime("fake", "m.onnx", [picture])


def test_a_runtime_that_fails(script, tmp_path, picture, monkeypatch):
    fake_program(tmp_path, monkeypatch, script, "raise RuntimeError('no such operator')")
    with pytest.raises(click.ClickException, match="fake failed on m.onnx: (?s:.*)no such operator"):
        script.run_runtime("fake", "m.onnx", [picture])


@pytest.fixture(scope="module")
def traced(script):
    """A small model, its `Detector` and the function that it is compared by, whose graphs take seconds to make."""
    model = confident_model()
    return model, Detector(model), script.python_model(model)


@pytest.fixture
def run(script, traced, tmp_path, monkeypatch):
    """Runs the command; what the processes would find is what `Detector` finds, after `change`. OpenVINO is missing."""
    (tmp_path / "images").mkdir()
    for number in range(3):
        Image.fromarray(noise_image(60, 80, number)).save(tmp_path / "images" / f"{number}.png")
    for name in ("model.safetensors", "model.onnx"):
        (tmp_path / name).touch()
    model, detector, find = traced
    monkeypatch.setattr(keras_mrcnn.MaskRCNN, "from_preset", lambda path: model)
    monkeypatch.setattr(script, "python_model", lambda model: find)

    def run(change, *arguments):
        def answer(runtime, path, paths, python):
            if runtime == "openvino":
                raise script.NotInstalledError("openvino is not installed")
            found = [detector.detect(script.read_picture(path)[None]) for path in paths]
            return change({name: np.concatenate([one[name] for one in found]) for name in found[0]})

        monkeypatch.setattr(script, "run_runtime", answer)
        files = [str(tmp_path), "--onnx", str(tmp_path / "model.onnx"), "--images", str(tmp_path / "images")]
        return CliRunner().invoke(script.main, [*files, "--json", str(tmp_path / "parity.json"), *arguments])

    return run


def test_the_command(run, tmp_path):
    done = run(lambda answers: answers, "--limit", "2")
    assert done.exit_code == 0, done.output
    assert "OpenVINO is left out: openvino is not installed" in done.output
    rows = json.loads((tmp_path / "parity.json").read_text("utf-8"))["rows"]
    assert [(row["runtime"], row["images"]) for row in rows] == [("ONNX Runtime", 2)]
    assert rows[0]["detections"] > 2 and 0 < rows[0]["mask"] < 2e-3


def test_the_command_fails_where_the_goals_are_missed(run):
    def change(answers):
        answers["boxes"][0] += 0.5
        answers["category_ids"][1:] += 1
        return answers

    done = run(change)
    assert done.exit_code == 1 and "5.0e-01" in done.output
    assert "ONNX Runtime, other counts or labels: 1.png, 2.png" in done.output
