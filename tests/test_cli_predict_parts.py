"""keras-mrcnn predict --format parquet or jsonl: the rows of a model, in each runtime; and errors."""

from __future__ import annotations

import json
import shutil

import keras
import numpy as np
import pytest
from command_line import error_line, run
from fake_detector import fake_runtime, make_pictures
from PIL import Image
from small_models import small_config

from keras_mrcnn.batch.parts import read_manifest, read_parts
from keras_mrcnn.batch.rows import ROW_FORMATS
from keras_mrcnn.batch.runtimes import RUNTIMES
from keras_mrcnn.cli import predict
from keras_mrcnn.cli.predict_parts import PART_FORMATS
from keras_mrcnn.mask_rcnn.model import MaskRCNN


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A weight file that finds something everywhere, without training."""
    keras.utils.set_random_seed(1)
    head = {"score_threshold": 0.0}
    config = small_config(min_size=64, max_size=96, box_head=head, class_names=("cat", "dog"), category_ids=(7, 3))
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    MaskRCNN(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def exported(weights, tmp_path_factory):
    """A folder with the SavedModel m/1 and the file m.onnx of the weights."""
    folder = tmp_path_factory.mktemp("exported")
    result = run("export", weights, "--name", "m", "--out", folder)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder with pictures of noise, of two sizes."""
    folder, noise = tmp_path_factory.mktemp("data") / "photos", np.random.default_rng(0)
    folder.mkdir()
    for number, shape in enumerate([(48, 64), (48, 64), (64, 48), (50, 70)]):
        Image.fromarray(noise.integers(0, 256, (*shape, 3), np.uint8)).save(folder / f"{number}.png")
    return folder


def usage_error(result):
    assert result.exit_code == 2, result.output
    return result.output.strip().splitlines()[-1]


def rows(out):
    return list(read_parts(out))


def test_rows_are_the_detections_that_predict_writes(weights, photos, tmp_path):
    small, out = tmp_path / "small", tmp_path / "out"
    assert run("predict", weights, photos, "--out", small).exit_code == 0
    result = run("predict", weights, photos, "--out", out, "--format", "parquet", "--part-size", 3)
    assert result.exit_code == 0 and result.output == f"{out}: 20 detections in 4 images\n"
    result = run("data", "convert", out, tmp_path / "coco", "--to", "coco")
    assert result.output == f"Wrote 20 detections in 4 images to {tmp_path / 'coco'} (COCO results).\n"
    for name in ("detections.json", "images.json"):
        assert json.loads((tmp_path / "coco" / name).read_text()) == json.loads((small / name).read_text())
    assert "--to coco, not yolo" in usage_error(run("data", "convert", out, tmp_path / "yolo", "--to", "yolo"))


@pytest.mark.slow
def test_weights_savedmodel_and_onnx_find_the_same(weights, exported, photos, tmp_path):
    options = ("--format", "jsonl")
    found = {}
    for name, model in {"weights": weights, "saved": exported / "m", "onnx": exported / "m.onnx"}.items():
        result = run("predict", model, photos, "--out", tmp_path / name, *options)
        assert result.exit_code == 0, result.output
        found[name] = rows(tmp_path / name)
    runtimes = [read_manifest(tmp_path / name)["settings"]["runtime"] for name in found]
    assert runtimes == list(RUNTIMES)
    for name in ("saved", "onnx"):
        assert len(found[name]) == len(found["weights"]) == 20
        for one, other in zip(found[name], found["weights"]):
            assert one["class_name"] == other["class_name"] and one["score"] == pytest.approx(other["score"], abs=1e-4)


@pytest.mark.slow
def test_weights_are_exported_for_another_runtime(weights, exported, photos, tmp_path, monkeypatch):
    """What is exported was exported before, which takes less time."""
    saved, onnx = exported / "m" / "1", exported / "m.onnx"
    monkeypatch.setattr("keras_mrcnn.export.onnx.export_onnx", lambda model, path: shutil.copy(onnx, path))
    monkeypatch.setattr(
        "keras_mrcnn.export.saved_model.export_saved_model", lambda model, folder: shutil.copytree(saved, folder / "1")
    )
    for runtime, model in {"savedmodel": saved, "onnx": onnx}.items():
        for source, name in ((weights, "own"), (model, "ready")):
            arguments = ("--format", "jsonl", "--runtime", runtime)
            result = run("predict", source, photos / "0.png", "--out", tmp_path / runtime / name, *arguments)
            assert result.exit_code == 0, result.output
        assert rows(tmp_path / runtime / "own") == rows(tmp_path / runtime / "ready")
    arguments = (onnx, photos, "--out", tmp_path / "out", "--format", "jsonl", "--runtime", "keras")
    assert "m.onnx cannot run on keras; leave --runtime out" in error_line(run("predict", *arguments))


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """A model file that runs as `fake_runtime`, and a folder of four pictures with 0, 1, 2 and 3 objects."""
    monkeypatch.setattr("keras_mrcnn.batch.run.open_runtime", lambda source: fake_runtime())
    (tmp_path / "quick.onnx").write_bytes(b"weights")
    return tmp_path / "quick.onnx", make_pictures(tmp_path / "pictures", 4)


def test_shards_and_resume(quick, tmp_path):
    arguments = ("predict", *quick, "--format", "jsonl", "--part-size", 1)
    assert run(*arguments, "--out", tmp_path / "whole").exit_code == 0
    shared = (*arguments, "--out", tmp_path / "out", "--shard")
    assert run(*shared, "0/2").output.splitlines()[1].startswith("Other shards have not finished yet")
    assert "go on with --resume" in error_line(run(*shared, "0/2"))
    assert "4 images" not in run(*shared, "1/2").output and rows(tmp_path / "out") == rows(tmp_path / "whole")
    assert run(*arguments, "--out", tmp_path / "out", "--resume").output.endswith("6 detections in 4 images\n")
    other = run(*arguments[:-1], 2, "--out", tmp_path / "out", "--resume")
    assert "holds detections of other settings (part_size was 1 and is 2)" in error_line(other)


def test_bad_pictures_are_counted(quick, tmp_path):
    model, folder = quick
    out = tmp_path / "out"
    (folder / "001.png").write_bytes(b"no image")
    arguments = ("predict", model, folder, "--out", out, "--format", "parquet")
    assert "001.png is not an image that Pillow knows" in error_line(run(*arguments, "--strict"))
    result = run(*arguments)
    assert result.exit_code == 0 and result.output.splitlines() == [
        f"{out}: 5 detections in 3 images", f"1 of 4 images could not be read; {out / 'errors.parquet'} says why.",
    ]  # fmt: skip


def test_ids_of_an_annotation_file(quick, tmp_path):
    images = [{"id": 90 + number, "file_name": f"val/{number:03d}.png", "height": 9, "width": 9} for number in range(4)]
    (tmp_path / "ids.json").write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    options = ("--format", "jsonl", "--annotations", tmp_path / "ids.json", "--out", tmp_path / "out")
    assert run("predict", *quick, *options).exit_code == 0
    found = [(row["image"], row["image_id"]) for row in rows(tmp_path / "out") if not row["detection"]]
    assert found == [(f"val/{number:03d}.png", 90 + number) for number in range(4)]


def test_detections_in_parts_are_scored(weights, photos, tmp_path):
    """A model of the same classes in another order, and one class that the data do not have."""
    images = [{"id": 90 + number, "file_name": f"{number}.png", "height": 48, "width": 64} for number in range(2)]
    square = {"bbox": [8, 8, 16, 16], "area": 256, "iscrowd": 0, "segmentation": [[8, 8, 24, 8, 24, 24, 8, 24]]}
    objects = [{"id": number, "image_id": 90, "category_id": number, **square} for number in (1, 2)]
    classes = [{"id": 1, "name": "dog"}, {"id": 2, "name": "bird"}]
    annotations, out = tmp_path / "ids.json", tmp_path / "out"
    annotations.write_text(json.dumps({"images": images, "annotations": objects, "categories": classes}))
    sources = (photos / "0.png", photos / "1.png")
    options = ("--format", "parquet", "--annotations", annotations, "--out", out)
    assert run("predict", weights, *sources, *options).exit_code == 0
    data = ("--annotations", annotations, "--images", photos)
    scores = []
    for number, source in enumerate([("--detections", out), (weights, "--stages", "box,mask")]):
        names = {option: tmp_path / f"{option}{number}.json" for option in ("--json", "--results")}
        result = run("evaluate", *source, *data, *(part for item in names.items() for part in item))
        assert result.exit_code == 0 and "which are not scored: bird." in result.output, result.output
        scores.append([json.loads(path.read_text()) for path in names.values()])
    assert scores[0] == scores[1] and scores[0][1] and {one["category_id"] for one in scores[0][1]} == {1}
    only_rpn = usage_error(run("evaluate", "--detections", out, *data, "--stages", "rpn"))
    assert "finds no objects for --detections" in only_rpn
    assert "or --detections" in usage_error(run("evaluate", weights, "--detections", out, *data))


def test_lists_and_patterns_work_without_parts(weights, photos, tmp_path):
    (tmp_path / "list.txt").write_text(f"{photos / '2.png'}\n{photos / '0.png'}\n")
    result = run("predict", weights, tmp_path / "list.txt", f"{photos}/[3].*", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    images = json.loads((tmp_path / "out" / "images.json").read_text())["images"]
    assert [image["file_name"] for image in images] == [str(photos / name) for name in ("2.png", "0.png", "3.png")]
    assert (tmp_path / "out" / "2.png").is_file()


def test_prepared_data(quick, tiny_prepared, tmp_path):
    result = run("predict", quick[0], tiny_prepared, "--format", "jsonl", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = [(row["image"], row["image_id"], row["height"]) for row in rows(tmp_path / "out") if not row["detection"]]
    assert found == [("3", 3, 40), ("5", 5, 64), ("8", 8, 40), ("9", 9, 50)]


def test_options_that_do_not_go_together(weights, photos, tmp_path):
    arguments = ("predict", weights, photos, "--out", tmp_path / "out")
    assert "--part-size goes with --format parquet or jsonl" in usage_error(run(*arguments, "--part-size", 3))
    assert "--resume goes with" in usage_error(run(*arguments, "--format", "coco", "--resume"))
    rank = ("--format", "parquet", "--rank", "uncertainty")
    assert "--rank needs all detections at once" in usage_error(run(*arguments, *rank))
    for shard in ("2/2", "1", "a/b", "-1/2"):
        message = usage_error(run(*arguments, "--format", "jsonl", "--shard", shard))
        assert f"'{shard}' is not I/N with I from 0 to N - 1" in message
    column = ("--format", "jsonl", "--column", "image")
    assert "only Parquet files have columns" in error_line(run(*arguments, *column))


def test_pattern_that_fits_nothing(weights, tmp_path):
    for options in ((), ("--format", "jsonl")):
        line = error_line(run("predict", weights, f"{tmp_path}/*.jpg", "--out", tmp_path / "out", *options))
        assert line == f"{tmp_path}/*.jpg: no file fits this pattern"


def test_model_files_that_are_none(photos, tmp_path):
    make_pictures(tmp_path / "saved" / "3", 1)
    (tmp_path / "saved" / "3" / "saved_model.pb").write_bytes(b"no graph")
    (tmp_path / "no.onnx").write_bytes(b"no graph")
    arguments = (photos, "--format", "jsonl", "--out", tmp_path / "out")
    line = error_line(run("predict", tmp_path / "saved", *arguments))
    assert f"{tmp_path / 'saved' / '3'} is not a SavedModel that `keras-mrcnn export` wrote" in line
    assert "no.onnx is not an ONNX file" in error_line(run("predict", tmp_path / "no.onnx", *arguments))
    assert not (tmp_path / "out").exists()


def test_choices_of_the_command_are_those_of_the_package():
    runtimes = next(parameter for parameter in predict.params if parameter.name == "runtime")
    assert tuple(runtimes.type.choices) == RUNTIMES and tuple(ROW_FORMATS) == PART_FORMATS
