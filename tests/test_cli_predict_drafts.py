"""`keras-mrcnn predict --format --rank`: annotations to correct, and the order to do so; the model is made up."""

from __future__ import annotations

import csv
import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import error_line, run
from data.formats.made_content import links
from PIL import Image

from keras_mrcnn.base.image_files import ImageError, read_image
from keras_mrcnn.base.records import Detections
from keras_mrcnn.data.formats import read_annotations

NAMES = {7: "cat", 3: "dog"}
# Scores of the detections by the name of the picture; each covers its box.
SCORES = {"sure.jpg": [0.99, 0.9], "doubtful.jpg": [0.6, 0.45], "nothing.png": [], "one.png": [0.5]}


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A path for weights that are never read, with a model that detects what `SCORES` says."""

    def predict_files(model, paths, batch_size):
        for path in paths:
            if path.name == "broken.jpg":
                continue
            image = read_image(path)
            scores = SCORES[path.name]
            boxes = [[5 + 20 * number, 5, 20 + 20 * number, 25] for number in range(len(scores))]
            yield path, image, Detections(
                np.float32(boxes).reshape(-1, 4),
                np.float32(scores),
                np.resize(np.int32([3, 7]), len(scores)),
                tuple(np.resize(["dog", "cat"], len(scores)).tolist()),
                np.ones((len(scores), 28, 28), np.float32),
                image.shape[:2],
            )
        if any(path.name == "broken.jpg" for path in paths):
            raise ImageError("image file broken.jpg is damaged; replace or remove it")

    config = SimpleNamespace(class_names=tuple(NAMES.values()), category_ids=tuple(NAMES))
    command = importlib.import_module("keras_mrcnn.cli.predict")  # the package's name `predict` is the command
    monkeypatch.setattr(command, "load_model", lambda weights: SimpleNamespace(config=config))
    monkeypatch.setattr("keras_mrcnn.predict.predict_files", predict_files)
    path = tmp_path / "model.safetensors"
    path.touch()
    return path


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "my pictures"
    for name in ("sure.jpg", "doubtful.jpg", "nothing.png", "sub/one.png"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(np.full((40, 50, 3), 99, np.uint8)).save(folder / name)
    return folder


def objects_of(found):
    """The file name, class and box of each object."""
    names = {category["id"]: category["name"] for category in found.content["categories"]}
    files = {image["id"]: image["file_name"] for image in found.content["images"]}
    return sorted((files[item["image_id"]], names[item["category_id"]], tuple(item["bbox"]))
                  for item in found.content["annotations"])  # fmt: skip


@pytest.mark.parametrize("target", ["labelme", "coco", "yolo"])
def test_detections_become_annotations(weights, pictures, tmp_path, target):
    out = tmp_path / "out"
    result = run("predict", weights, pictures, "--out", out, "--format", target)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"Wrote 5 detections in 4 images to {out}.",
        f"Wrote 4 images with 4 objects to {out / target} ({target}).",
    ]
    assert result.stderr == "" and len(links(out / target)) == 4
    found = read_annotations(out / target)
    assert len(found.content["images"]) == 4
    assert [(Path(name).name, label) for name, label, _ in objects_of(found)] == [
        ("doubtful.jpg", "dog"), ("one.png", "dog"), ("sure.jpg", "cat"), ("sure.jpg", "dog"),
    ]  # fmt: skip
    for _, label, box in objects_of(found):
        np.testing.assert_allclose(box, [25 if label == "cat" else 5, 5, 15, 20], atol=1.5)
    assert len(json.loads((out / "detections.json").read_text())) == 5


def test_least_score(weights, pictures, tmp_path):
    arguments = ("predict", weights, pictures, "--format", "labelme", "--min-score", "0.95")
    assert run(*arguments, "--out", tmp_path / "out").exit_code == 0
    file = json.loads((tmp_path / "out" / "labelme" / "sure.json").read_text())
    assert [(shape["label"], shape["description"]) for shape in file["shapes"]] == [("dog", "score 0.990")]


@pytest.mark.parametrize("target", ["labelme", "coco", "yolo", None])
def test_queue(weights, pictures, tmp_path, target):
    options = ("--format", target) if target else ()
    result = run("predict", weights, pictures, "--out", tmp_path / "out", "--rank", "uncertainty", *options)
    assert result.exit_code == 0 and f"order of the images to {tmp_path / 'out' / 'queue.csv'}." in result.stdout
    rows = list(csv.DictReader((tmp_path / "out" / "queue.csv").read_text("utf-8").splitlines()))
    assert [Path(row["file"]).name for row in rows] == ["doubtful.jpg", "one.png", "sure.jpg", "nothing.png"]
    assert [float(row["uncertainty"]) for row in rows] == pytest.approx([1.45, 1.0, 0.0404, 0.0], abs=1e-4)
    assert [int(row["detections"]) for row in rows] == [1, 1, 2, 0]
    assert all(Path(row["file"]).is_file() for row in rows)
    paths = [row["annotations"] for row in rows]
    if target:
        assert all((tmp_path / "out" / path).is_file() for path in paths)
    else:
        assert paths == [""] * 4


def test_annotations_are_never_written_over(weights, pictures, tmp_path):
    arguments = ("predict", weights, pictures, "--out", tmp_path / "out", "--format", "labelme")
    assert run(*arguments).exit_code == 0
    corrected = tmp_path / "out" / "labelme" / "sure.json"
    corrected.write_text("corrected by hand")
    sentence = error_line(run(*arguments))
    assert sentence.startswith(f"{corrected.parent} is not empty, and what it holds may have been corrected")
    assert corrected.read_text() == "corrected by hand"
    other = run(*arguments[:-1], "yolo", "--rank", "uncertainty")
    assert other.exit_code == 0 and "Replaced detections.json, images.json, 4 pictures that" in other.stderr
    again = run(*arguments[:-2], "--rank", "uncertainty")
    assert "Replaced detections.json, images.json, queue.csv, 4 pictures that" in again.stderr


def test_out_below_the_images(weights, pictures):
    out = pictures / "out"
    for number in range(2):
        result = run("predict", weights, pictures, "--out", out, "--format", ("labelme", "yolo")[number])
        assert result.exit_code == 0 and f"in 4 images to {out}." in result.stdout, result.output


def test_names_from_several_folders(weights, pictures, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("sure.jpg", "nothing.png"):
        Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(other / name)
    result = run("predict", weights, pictures, other, "--out", tmp_path / "out", "--format", "yolo")
    assert result.exit_code == 0, result.output
    found = links(tmp_path / "out" / "yolo")
    assert found["images/train/sure.jpg"] == pictures / "sure.jpg"
    assert found["images/train/sure_2.jpg"] == other / "sure.jpg" and len(found) == 6


def test_unreadable_files_are_left_out(weights, pictures, tmp_path):
    (pictures / "broken.jpg").write_text("no image")
    arguments = ("--format", "labelme", "--rank", "uncertainty")
    result = run("predict", weights, pictures, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 1 and "1 of 5 files could not be read" in result.stderr
    assert len(links(tmp_path / "out" / "labelme")) == 4
    assert len((tmp_path / "out" / "queue.csv").read_text().splitlines()) == 5
