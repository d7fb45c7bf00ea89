"""scripts/photographs.py: merged data, rows that are not repeated, and its table; the training itself is replaced."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from keras_mrcnn.config import load_config

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
SCORES = {"AP": 0.5, "AP50": 0.75}
METRICS = {
    "training": {
        "rpn": {"seconds": 2.0, "peak_memory_mb": 900, "epochs": 0},
        "joint": {"seconds": 90.0, "peak_memory_mb": 2048, "epochs": 3},
    },
    "box": SCORES,
    "mask": SCORES,
}


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(SCRIPTS))
    try:
        yield importlib.import_module("photographs")
    finally:
        sys.path.remove(str(SCRIPTS))


@pytest.fixture
def root(tmp_path):
    """The folders of two sets with the same two categories, an image and an object each, with equal ids."""
    for name, label in (("coco-mini", 2), ("coco-slice", 1)):
        for split in ("train", "val"):
            file = tmp_path / name / "annotations" / f"vehicle_person_animal_{split}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            content = {
                "images": [{"id": 7, "file_name": "a.jpg", "height": 4, "width": 6}],
                "annotations": [{"id": 3, "image_id": 7, "category_id": label, "bbox": [0, 0, 2, 2], "iscrowd": 0}],
                "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog", "supercategory": name}],
            }
            file.write_text(json.dumps(content), encoding="utf-8")
    return tmp_path


def parts(*names):
    return [(f"{name}/annotations/vehicle_person_animal_train.json", f"{name}/images/train") for name in names]


def test_merged_files_keep_every_object_with_its_image(script, root):
    merged = script.merge_annotations(root, parts("coco-mini", "coco-slice"))
    names = {image["id"]: image["file_name"] for image in merged["images"]}
    labels = {names[annotation["image_id"]]: annotation["category_id"] for annotation in merged["annotations"]}
    assert labels == {"coco-mini/images/train/a.jpg": 2, "coco-slice/images/train/a.jpg": 1}
    assert len({annotation["id"] for annotation in merged["annotations"]}) == 2
    assert [category["name"] for category in merged["categories"]] == ["cat", "dog"]


def test_files_with_other_categories_are_not_merged(script, root):
    file = root / parts("coco-slice")[0][0]
    content = json.loads(file.read_text("utf-8"))
    content["categories"].reverse()
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match="coco-slice.*has other categories than .*coco-mini"):
        script.merge_annotations(root, parts("coco-mini", "coco-slice"))


@pytest.fixture
def trained(script, monkeypatch):
    """Replaces `keras-mrcnn train`: it writes the metrics; returns the calls."""
    calls = []

    class Usage:
        ru_utime, ru_stime = 100.0, 20.0

    def run_command(arguments):
        calls.append(arguments)
        folder = Path(arguments[arguments.index("--run") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.json").write_text(json.dumps(METRICS), encoding="utf-8")
        return Usage

    monkeypatch.setattr(script, "run_command", run_command)
    return calls


def call(script, *arguments):
    result = CliRunner().invoke(script.main, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def test_finished_runs_are_not_repeated_and_interrupted_ones_go_on(script, root, tmp_path, trained):
    file, out = tmp_path / "results.json", tmp_path / "runs"
    options = ("train", root, "--json", file, "--out", out, "--data", "vehicle-person-animal")
    call(script, *options, "--seed", 0)
    (out / "vehicle-person-animal-joint-1").mkdir()
    (out / "vehicle-person-animal-joint-1" / "checkpoint.safetensors").touch()
    call(script, *options, "--seed", 0, "--seed", 1)
    assert ["--resume" in arguments for arguments in trained] == [False, True]
    rows = json.loads(file.read_text("utf-8"))["runs"]
    assert [(row["seed"], row["resumed"]) for row in rows] == [(0, False), (1, True)]
    table = call(script, "table", file)
    assert "| vehicle-person-animal | joint | 0 | 3 | 2 | 2 | 2.0 | 0.500 | 0.750 |" in table
    assert "| vehicle-person-animal | joint | 1 | 3 | - | - | 2.0 | 0.500 | 0.750 |" in table  # times of a part only


def test_settings_of_every_run_are_settings_of_the_package(script):
    for recipe in script.RECIPES.values():
        for data in script.DATA_SETS.values():
            settings = script.settings_of(data, recipe)
            overrides = tuple(f"{key}={json.dumps(value)}" for key, value in settings.items())
            config = load_config(script.PRESET, overrides)
            assert sum(getattr(config.train, stage).epochs for stage in script.STAGES) > 0
