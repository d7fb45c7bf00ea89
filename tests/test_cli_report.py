"""`keras-mrcnn report`, with a small network that finds something in every picture."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from command_line import error_line, run
from export.models import confident_model, noise_image, small_config
from PIL import Image
from report.made_runs import make_run

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.config import Config, DataConfig, load_config, save_config

CLASSES = small_config()


def missing_parts(text):
    """The sentences about what is missing, by the part of the page."""
    return dict(re.findall(r'<li><a href="#(\w+)">[^<]*</a>: ([^<]*)</li>', text))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Validation data of four images with an object each, and the classes of the small model in another order."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "annotations").mkdir()
    (folder / "images" / "val").mkdir(parents=True)
    images, annotations = [], []
    for number in range(1, 5):
        name = f"{number}.png"
        Image.fromarray(noise_image(96, 128, seed=number)).save(folder / "images" / "val" / name)
        images.append({"id": number, "file_name": name, "height": 96, "width": 128})
        box = [8 * number, 10, 50, 40]
        corners = [box[0], box[1], box[0] + 50, box[1], box[0] + 50, box[1] + 40, box[0], box[1] + 40]
        annotation = {"id": number, "image_id": number, "category_id": number % 3 + 1, "iscrowd": 0, "area": 2000}
        annotations.append({**annotation, "bbox": box, "segmentation": [corners]})
    categories = [{"id": i, "name": name} for i, name in enumerate(("dog", "person", "car"), start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / "val.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data):
    """A run with a finished model, whose validation data are those."""
    folder = make_run(tmp_path_factory.mktemp("runs") / "finished")
    files = {"val_annotations": str(data / "annotations" / "val.json"), "val_images": str(data / "images" / "val")}
    save_config(Config(model=CLASSES, data=DataConfig(**files)), folder / "config.yaml")
    confident_model().save_pretrained(folder / "model.safetensors")
    return folder


def test_help():
    result = run("report", "--help")
    assert result.exit_code == 0 and "report [OPTIONS] RUN" in result.output


def test_report_of_a_finished_run(finished):
    result = run("report", finished, "--images", 1)
    assert result.exit_code == 0, result.output
    assert result.output.strip().splitlines()[-1] == f"Wrote the report to {finished / 'report.html'}."
    text = (finished / "report.html").read_text(encoding="utf-8")
    assert missing_parts(text) == {
        "data": "The settings of the run name no training data; name their folder with --data."
    }
    assert "The finished model on 4 images" in text
    assert text.count("<img ") == 8 and text.count('class="picture"') == 2


@pytest.mark.parametrize(("option", "used"), [((), 5), (("--batch-size", 3), 3)])
def test_report_takes_the_batch_size_of_the_run(finished, monkeypatch, tmp_path, option, used):
    folder = shutil.copytree(finished, tmp_path / "run")
    save_config(load_config(folder / "config.yaml", ("data.eval_batch_size=5",)), folder / "config.yaml")

    def evaluation(model, dataset, stages, batch_size):
        raise UserError(f"batches of {batch_size}")

    monkeypatch.setattr("keras_mrcnn.evaluation.evaluator.evaluate_model", evaluation)
    assert error_line(run("report", folder, *option)).endswith(f"batches of {used}")


def test_report_without_the_data(finished, tmp_path):
    folder = tmp_path / "moved"
    shutil.copytree(finished, folder)
    missing = DataConfig(val_annotations="nowhere/val.json", val_images="nowhere")
    save_config(Config(model=CLASSES, data=missing), folder / "config.yaml")
    result = run("report", folder, "--out", tmp_path / "page.html")
    assert result.exit_code == 0, result.output
    parts = missing_parts((tmp_path / "page.html").read_text())
    assert "annotation file nowhere/val.json does not exist" in parts["data"]
    assert set(parts) == {"data", "anchors", "rpn", "scores", "curves", "confusion", "errors", "pictures"}
    assert parts["rpn"] == "There are no scores of the RPN in metrics.json, and there are no validation data."


def test_report_of_a_run_that_has_just_begun(tmp_path, data):
    make_run(tmp_path / "run", losses={})
    save_config(Config(model=CLASSES), tmp_path / "run" / "config.yaml")
    result = run("report", tmp_path / "run", "--data", data)
    assert result.exit_code == 0, result.output
    parts = missing_parts((tmp_path / "run" / "report.html").read_text())
    assert parts["data"] == f"{data} has no training data."
    assert "no epoch has ended yet" in parts["training"]
    assert parts["scores"].startswith("There are no scores of the box head and the mask head in metrics.json")
    assert "anchors" not in parts


def test_report_on_prepared_data(finished, data, tmp_path):
    prepared = tmp_path / "prepared"
    assert run("data", "prepare", data, prepared).exit_code == 0
    result = run("report", finished, "--data", prepared, "--images", 1, "--out", tmp_path / "page.html")
    assert result.exit_code == 0, result.output
    assert run("report", finished, "--images", 1, "--out", tmp_path / "other.html").exit_code == 0
    pages = [(tmp_path / name).read_text(encoding="utf-8") for name in ("page.html", "other.html")]
    assert f"The finished model on 4 images of {prepared / 'val'}." in pages[0]
    assert missing_parts(pages[0]) == {"data": f"{prepared} has no training data."}
    # The scores and pictures are those of the files.
    rows = [re.findall(r"<tr>.*?</tr>", page, re.DOTALL) for page in pages]
    assert len(rows[0]) > 10 and rows[0] == rows[1]
    assert re.findall(r"<img [^>]*>", pages[0]) == re.findall(r"<img [^>]*>", pages[1])


def test_one_sentence_for_what_cannot_be_used(finished, tmp_path):
    assert "has no config.yaml" in error_line(run("report", tmp_path))
    assert "has no annotations/val.json" in error_line(run("report", finished, "--data", tmp_path))
    damaged = tmp_path / "damaged"
    shutil.copytree(finished, damaged)
    (damaged / "model.safetensors").write_bytes(b"no weights")
    assert "model.safetensors" in error_line(run("report", damaged, "--out", tmp_path / "page.html"))
    assert not (tmp_path / "page.html").exists()
