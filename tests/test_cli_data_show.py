"""`keras-mrcnn data show`: the contact sheet, its one line, and what is wrong in one line."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from keras_mrcnn.cli import main
from keras_mrcnn.scenes.generator import generate_scenes

EVERYTHING = (
    "data.rotation=15", "data.crop=true", "data.scale_jitter=[0.5, 1.8]", "data.colour_jitter=0.4", "data.copy_paste=1",
)  # fmt: skip
SMALL = ("--preset", "scenes-small", "--set", "model.min_size=64", "--set", "model.max_size=96")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "scenes"
    generate_scenes(folder, num_train=4, num_val=2, height_range=(96, 110), width_range=(96, 110), workers=1)
    return folder


def show(*arguments):
    return CliRunner().invoke(main, ["data", "show", *map(str, arguments)])


def figures(result):
    """Images, objects and dropped objects, as the command says."""
    assert result.exit_code == 0, result.output
    found = re.fullmatch(r"Drew (\d+) images with (\d+) objects \((\d+) dropped\) into .*sheet\.png\.\n", result.output)
    return tuple(map(int, found.groups()))


def settings(*values):
    return [part for value in values for part in ("--set", value)]


def test_sheet_of_augmented_samples(scenes, tmp_path):
    out = tmp_path / "new" / "sheet.png"
    images, objects, _ = figures(show(scenes, "--out", out, "--count", 6, *SMALL, *settings(*EVERYTHING)))
    assert images == 6 and objects > 6
    assert [path.name for path in out.parent.iterdir()] == ["sheet.png"]  # nothing half-written stays
    sheet = np.asarray(Image.open(out))
    # Four in a row, so two rows; cells of at most 96 pixels with gaps of 4.
    assert 2 * 64 < sheet.shape[0] <= 2 * 100 + 4
    assert 4 * 64 < sheet.shape[1] <= 4 * 100 + 4
    assert sheet.std() > 10


def test_same_seed_same_sheet(scenes, tmp_path):
    sheets, jitter = [], settings("data.scale_jitter=[0.5, 1.8]", "data.colour_jitter=0.4")
    for number, seed in enumerate((1, 1, 2)):
        out = tmp_path / str(number) / "sheet.png"
        figures(show(scenes, "--out", out, "--count", 2, "--seed", seed, *SMALL, *jitter))
        sheets.append(out.read_bytes())
    assert sheets[0] == sheets[1] != sheets[2]


def test_dropped_objects_are_said(scenes, tmp_path):
    small = settings("data.scale_jitter=[0.03, 0.05]")
    _, objects, dropped = figures(show(scenes, "--out", tmp_path / "sheet.png", "--count", 4, *SMALL, *small))
    _, all_objects, none = figures(show(scenes, "--out", tmp_path / "sheet.png", "--count", 4, *SMALL))
    assert none == 0 and dropped > 0
    assert objects + dropped == all_objects


def test_split_or_annotation_file_of_coco(scenes, tmp_path):
    out = tmp_path / "sheet.png"
    by_split = figures(show(scenes, "--split", "val", "--out", out, "--count", 2, *SMALL))
    by_file = figures(show(scenes / "annotations" / "val.json", "--out", out, "--count", 2, *SMALL))
    assert by_split == by_file
    annotations = tmp_path / "coco" / "annotations" / "instances_val.json"
    annotations.parent.mkdir(parents=True)
    annotations.write_bytes((scenes / "annotations" / "val.json").read_bytes())
    elsewhere = ("--images", scenes / "images" / "val")
    arguments = (annotations.parents[1], "--split", "val", *elsewhere, "--out", out, "--count", 2, *SMALL)
    assert figures(show(*arguments)) == by_split


def test_default_settings_are_those_of_a_preset(scenes, tmp_path):
    assert figures(show(scenes, "--out", tmp_path / "sheet.png", "--count", 1))[0] == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--out", "sheet.jpg"], "sheet.jpg: the pictures are written as PNG"),
        (["--out", "sheet.png", "--split", "test"], "has no annotations/test.json; name the annotation file itself"),
        (["--out", "sheet.png", "--preset", "none"], "there is no none; choose one of scenes-small"),
        (["--out", "sheet.png", "--count", "0"], "0 is not in the range 1<=x<=100"),
        ([], "Missing option '--out'"),
    ],
)
def test_wrong_usage(scenes, tmp_path, monkeypatch, arguments, line):
    monkeypatch.chdir(tmp_path)
    result = show(scenes, *arguments)
    assert result.exit_code == 2
    assert line in result.output
    assert not list(tmp_path.iterdir())


def test_config_and_preset_exclude_each_other(scenes, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("data: {rotation: 5}")
    result = show(scenes, "--out", tmp_path / "sheet.png", "--config", config, "--preset", "scenes-small")
    assert result.exit_code == 2 and "give either --config FILE or --preset NAME" in result.output
    arguments = ("--count", 1, *settings("model.min_size=64", "model.max_size=96"))
    assert figures(show(scenes, "--out", tmp_path / "sheet.png", "--config", config, *arguments))[0] == 1


@pytest.mark.parametrize("damage", ["image", "segmentation", "record", "setting"])
def test_what_cannot_be_used_is_named(tmp_path, damage):
    """A problem of the data on a line of its own, as `data check` names it."""
    folder = tmp_path / "scenes"
    generate_scenes(folder, num_train=2, num_val=1, height_range=(96, 110), width_range=(96, 110), workers=1)
    change, sentence, lines = [], "rotation", 1
    if damage == "image":
        path = sorted((folder / "images" / "train").iterdir())[0]
        path.write_bytes(b"no picture")
        sentence, lines = f"{path.name}: unreadable file: ", 2
    elif damage == "segmentation":
        path = folder / "annotations" / "train.json"
        text = path.read_text()
        path.write_text(text.replace('"segmentation"', '"other"'))
        change, sentence = settings("data.rotation=5"), "bad segmentation: there is no segmentation; it must be"
        lines = 1 + text.count('"segmentation"')
    elif damage == "record":
        path = folder / "annotations" / "train.json"
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, "images": [*content["images"], 7], "annotations": [{"image_id": []}]}))
        sentence, lines = "image 3 is not an object with fields", 3
    else:
        change = settings("data.rotation=500")
    result = show(folder, "--out", tmp_path / "sheet.png", "--count", 4, *SMALL, *change)
    assert result.exit_code == 1
    assert result.output.startswith("keras-mrcnn: ") and result.output.count("\n") == lines, result.output
    assert sentence in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]


def test_what_is_left_out_is_said(tmp_path):
    folder, out = tmp_path / "scenes", tmp_path / "sheet.png"
    generate_scenes(folder, num_train=2, num_val=1, height_range=(96, 110), width_range=(96, 110), workers=1)
    sorted((folder / "images" / "train").iterdir())[0].unlink()
    result = show(folder, "--out", out, "--count", 4, *SMALL)
    assert result.exit_code == 1 and "leave them out with --skip-bad" in result.output
    result = show(folder, "--out", out, "--count", 4, "--skip-bad", *SMALL)
    assert result.exit_code == 0 and "train.json: left out 1 missing file" in result.output and out.is_file()


def test_prepared_data(scenes, tmp_path):
    out, folder = tmp_path / "sheet.png", tmp_path / "prepared"
    by_file = figures(show(scenes, "--split", "val", "--out", out, "--count", 2, *SMALL))
    result = CliRunner().invoke(main, ["data", "prepare", str(scenes), str(folder)])
    assert result.exit_code == 0, result.output
    assert figures(show(folder, "--split", "val", "--out", out, "--count", 2, *SMALL)) == by_file
    assert figures(show(folder / "val", "--out", out, "--count", 2, *SMALL)) == by_file
