"""`keras-mrcnn data prepare`: what it writes and prints, and what is wrong in one line."""

from __future__ import annotations

import json
import re

import pytest
from command_line import error_line, run
from PIL import Image

from keras_mrcnn.data.prepared import PreparedDataset
from keras_mrcnn.scenes.generator import generate_scenes

SIDES = {"height_range": (64, 80), "width_range": (64, 80)}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "scenes"
    generate_scenes(folder, num_train=4, num_val=2, workers=1, **SIDES)
    return folder


def prepare(*arguments):
    return run("data", "prepare", *arguments)


def said(result):
    """The lines that a command prints after those on what it has read."""
    return [line for line in result.output.splitlines() if not line.startswith("Read ")]


def printed(result):
    """(folder, images, objects, classes, shards) of each line that the command prints."""
    assert result.exit_code == 0, result.output
    pattern = r"(\S+): (\d+) images, (\d+) objects, (\d+) classes in (\d+) shards, \d+ MB"
    found = [re.fullmatch(pattern, line).groups() for line in said(result)]
    return [(folder, *map(int, numbers)) for folder, *numbers in found]


def test_folder_with_two_splits(scenes, tmp_path):
    out = tmp_path / "new" / "prepared"
    first, second = printed(prepare(scenes, out))
    assert first[0] == f"{out}/train" and second[0] == f"{out}/val"
    assert (first[1], first[3], first[4]) == (4, 3, 1) and second[1] == 2
    assert len(PreparedDataset(out / "train")) == 4 and len(PreparedDataset(out / "val")) == 2
    assert PreparedDataset(out / "train").mask_size == 56
    assert first[2] == sum(PreparedDataset(out / "train").index["num_objects"])
    # The same again does nothing and says the same, with or without a slash at the end.
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert printed(prepare(scenes, f"{out}/")) == [first, second]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == times


def test_one_annotation_file(scenes, tmp_path):
    out = tmp_path / "prepared"
    file = scenes / "annotations" / "val.json"
    ((folder, images, *_),) = printed(prepare(file, out, "--mask-size", 12, "--workers", 1))
    assert (folder, images) == (str(out), 2)
    assert PreparedDataset(out).mask_size == 12
    elsewhere = tmp_path / "val.json"
    elsewhere.write_bytes(file.read_bytes())
    result = prepare(elsewhere, tmp_path / "other", "--images", scenes / "images" / "val")
    assert printed(result)[0][1] == 2


def test_prepared_data_can_be_shown(scenes, tmp_path):
    prepare(scenes, tmp_path / "prepared")
    small = ("--set", "model.min_size=64", "--set", "model.max_size=96", "--preset", "scenes-small")
    for path in (tmp_path / "prepared", tmp_path / "prepared" / "train"):
        result = run("data", "show", path, "--out", tmp_path / "sheet.png", "--count", 2, *small)
        assert result.exit_code == 0 and result.output.startswith("Drew 2 images"), result.output


def test_problems_are_listed_and_can_be_left_out(tmp_path):
    generate_scenes(tmp_path / "scenes", num_train=3, num_val=1, workers=1, **SIDES)
    (tmp_path / "scenes" / "annotations" / "val.json").unlink()
    gone, bad = sorted((tmp_path / "scenes" / "images" / "train").iterdir())[:2]
    gone.unlink()
    bad.write_text("no picture")
    result = prepare(tmp_path / "scenes", tmp_path / "out")
    assert result.exit_code == 1
    assert result.output.startswith("Read 3 images with ")
    note, first, *problems = said(result)
    assert note.startswith("1 of 3 pictures is not in ")
    name = f"{tmp_path / 'scenes'}, train"
    assert first == f"keras-mrcnn: {name}: 2 problems; mend them, or leave them out with --skip-bad"
    assert [line.split(": ")[:2] for line in problems] == [[gone.name, "missing file"], [bad.name, "unreadable file"]]
    checked = run("data", "check", tmp_path / "scenes").output.splitlines()
    assert checked[:2] == problems
    result = prepare(tmp_path / "scenes", tmp_path / "out", "--skip-bad")
    assert result.exit_code == 0
    _, line, left_out = said(result)
    assert line.startswith(f"{tmp_path / 'out'}/train: 1 images, ")
    assert re.fullmatch(
        rf"{re.escape(name)}: left out 1 missing file, 1 unreadable file, \d+ annotation of a dropped image", left_out
    )


def test_folder_of_something_else_is_one_line(scenes, tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "notes.txt").write_text("mine")
    result = prepare(scenes, tmp_path)
    assert result.exit_code == 1
    (line,) = said(result)
    sentence = "holds files that are not prepared data; name an empty folder, or one to make"
    assert line == f"keras-mrcnn: {tmp_path}/train {sentence}"
    assert [path.name for path in tmp_path.rglob("*")] == ["train", "notes.txt"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["SCENES"], "Missing argument 'OUT'"),
        (["SCENES", "out", "--mask-size", "0"], "0 is not in the range x>=1"),
        (["SCENES", "out", "--workers", "0"], "0 is not in the range x>=1"),
        (["nowhere", "out"], "Path 'nowhere' does not exist"),
    ],
)
def test_wrong_usage(scenes, tmp_path, monkeypatch, arguments, line):
    monkeypatch.chdir(tmp_path)
    result = prepare(*(str(argument).replace("SCENES", str(scenes)) for argument in arguments))
    assert result.exit_code == 2
    assert line in result.output
    assert not list(tmp_path.iterdir())


def test_annotation_file_that_is_none_is_one_line(scenes, tmp_path):
    (tmp_path / "train.json").write_text(json.dumps({"images": []}))
    line = error_line(prepare(tmp_path / "train.json", tmp_path / "out", "--images", scenes / "images" / "train"))
    assert line.startswith(f"{tmp_path / 'train.json'} has no annotations in a format that is known")


def test_any_format_is_read(tmp_path):
    shape = {"label": "cat", "points": [[1, 1], [30, 1], [30, 40]], "shape_type": "polygon"}
    picture = {"imagePath": "a.png", "imageHeight": 50, "imageWidth": 60, "imageData": None, "shapes": [shape]}
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.json").write_text(json.dumps(picture))
    Image.new("RGB", (60, 50)).save(tmp_path / "labels" / "a.png")
    assert printed(prepare(tmp_path / "labels", tmp_path / "out")) == [(str(tmp_path / "out"), 1, 1, 1, 1)]
    assert PreparedDataset(tmp_path / "out").class_names == ("cat",)
