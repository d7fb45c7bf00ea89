"""`keras-mrcnn data stats`: the tables on the terminal and the numbers in JSON."""

from __future__ import annotations

import json

import pytest
from command_line import run
from conftest import tiny_content
from data.formats.made_content import write_pictures


@pytest.fixture
def source(tmp_path):
    """The four images of `tiny_content` as train, and a smaller val."""
    dogs = {**tiny_content(), "annotations": tiny_content()["annotations"][:1]}
    for name, content in (("train", tiny_content()), ("val", dogs)):
        write_pictures(content, tmp_path / "images" / name)
        path = tmp_path / "annotations" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    return tmp_path


def tables(result):
    """The tables that were printed, as lists of lines."""
    assert result.exit_code == 0, result.output
    return [block.splitlines() for block in result.stdout.split("\n\n")[1:]]


def test_tables(source):
    splits, classes, train, sizes, val, _ = tables(run("data", "stats", source))
    assert splits[0].split("  ")[0] == "data" and len(splits) == 3
    assert splits[1].split()[:6] == ["train", "4", "1", "4", "1", "1.000"]
    assert splits[2].split()[:6] == ["val", "4", "3", "1", "0", "0.250"]
    assert [line.split() for line in classes[1:]] == [
        ["kite", "2", "2", "20.0", "0", "0", "-"],
        ["dog", "2", "2", "20.0", "1", "1", "20.0"],
        ["all", "4", "3", "20.0", "1", "1", "20.0"],
    ]
    assert train[0] == "train" and val[0] == "val"
    assert train[-1].split() == ["object", "side,", "px", "10.0", "13.0", "20.0", "27.0", "30.0"]
    assert [line.split()[-2:] for line in sizes[1:]] == [["4", "100.0%"], ["0", "0.0%"], ["0", "0.0%"]]


def test_json_of_one_split(source, tmp_path):
    out = tmp_path / "new" / "stats.json"
    assert run("data", "stats", source, "--split", "val", "--json", out).exit_code == 0
    numbers = json.loads(out.read_text("utf-8"))
    assert list(numbers) == ["splits"] and list(numbers["splits"]) == ["val"]
    assert numbers["splits"]["val"]["objects"] == 1
    assert [path.name for path in out.parent.iterdir()] == ["stats.json"]


def test_data_without_objects(source):
    path = source / "annotations" / "train.json"
    path.write_text(json.dumps({**tiny_content(), "annotations": []}))
    assert "objects in an image" in run("data", "stats", path, "--images", source / "images" / "train").output


def test_any_format(source, tmp_path):
    assert run("data", "convert", source, tmp_path / "out", "--to", "labelme").exit_code == 0
    splits, *_ = tables(run("data", "stats", tmp_path / "out"))
    assert [line.split()[:5] for line in splits[1:]] == [["train", "4", "1", "4", "1"], ["val", "4", "3", "1", "0"]]


def test_anchors_of_a_preset(source, tmp_path):
    out = tmp_path / "stats.json"
    *_, anchors = tables(run("data", "stats", source, "--preset", "scenes-small", "--json", out))
    assert anchors[0] == "Best IoU of any anchor of scenes-small with each object, train"
    assert [line.split()[:2] for line in anchors[2:]] == [
        ["kite", "2"], ["dog", "2"], ["small", "4"], ["medium", "0"], ["large", "0"], ["all", "4"],
    ]  # fmt: skip
    fit = json.loads(out.read_text("utf-8"))["anchors"]
    assert fit["all"]["all"]["objects"] == 4 and fit["sizes"]["large"]["mean IoU"] is None
    assert 0 < fit["classes"]["kite"]["mean IoU"] <= 1


def test_unknown_preset(source):
    assert run("data", "stats", source, "--preset", "none").exit_code == 2
