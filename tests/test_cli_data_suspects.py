"""`keras-mrcnn data suspects`: lists, pictures and tables from detections, and what it refuses."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from command_line import run
from PIL import Image
from pycocotools import mask as coco_mask

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.report import suspect_panels

DETECTED = {"image_id": 3, "category_id": 7, "bbox": [0, 0, 1, 1], "score": 1}


@pytest.fixture
def results(tiny_coco):
    """Of the objects of `tiny_content` the first has another class, the third a worse mask; one more is detected."""
    annotations, _, _ = tiny_coco

    def result(image_id, category_id, box, score):
        x, y, side, _ = box
        size = {3: (40, 60), 5: (64, 48), 8: (40, 60), 9: (50, 50)}[image_id]
        code = box_code(x, y, side, *size)
        return {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score, "segmentation": code}

    path = annotations.with_name("results.json")
    path.write_text(
        json.dumps(
            [
                result(3, 7, [10, 10, 20, 20], 0.8),
                result(3, 7, [40, 5, 10, 10], 0.95),
                result(5, 7, [0, 30, 20, 20], 0.8),
                result(8, 18, [10, 10, 20, 20], 0.99),
                result(9, 18, [15, 15, 20, 20], 0.85),
            ]
        )
    )
    return path


def box_code(x, y, side, height, width):
    """A filled square as a compressed run-length code."""
    mask = np.zeros((height, width), np.uint8, order="F")
    mask[y : y + side, x : x + side] = 1
    code = coco_mask.encode(mask)
    return {"size": [height, width], "counts": code["counts"].decode()}


def suspects(tiny_coco, out, *options):
    annotations, images, _ = tiny_coco
    return run("data", "suspects", annotations, out, "--images", images, *options)


def test_lists_pictures_and_tables(tiny_coco, results, tmp_path):
    out = tmp_path / "out"
    result = suspects(tiny_coco, out, "--detections", results, "--crowds", "regions")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1:] == [
        "Missing objects: 1",
        "image       annotation  class  detected  score",
        "image9.png  -           -      dog       0.850",
        "",
        "Wrong classes: 1",
        "image       annotation  class  detected  score",
        "image3.png  1           dog    kite      0.800",
        "",
        "Bad masks and boxes: 1",
        "image       annotation  class  detected  score",
        "image5.png  3           kite   kite      0.444",
        "",
        "Annotations without an object: 2",
        "image       annotation  class  detected  score",
        "image5.png  3           kite   -         0.644",
        "image3.png  1           dog    -         0.200",
        f"Wrote suspects.json, suspects.csv, missing.jpg, class.jpg, mask.jpg, spurious.jpg into {out}.",
    ]
    content = json.loads((out / "suspects.json").read_text())
    assert content["images"] == 4 and content["detections"] == str(results)
    first = content["suspects"][0]
    assert first["proposed_bbox"] == [15, 15, 20, 20] and first["annotation_id"] is None and first["rank"] == 1
    with open(out / "suspects.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["kind"], row["annotation_id"], row["proposed_class"]) for row in rows] == [
        ("missing", "", "dog"),
        ("class", "1", "kite"),
        ("mask", "3", "kite"),
        ("spurious", "3", ""),
        ("spurious", "1", ""),
    ]
    panels = suspect_panels(out)
    assert [panel.title for panel in panels.panels][:2] == ["Missing objects: 1", "Wrong classes: 1"]


def test_pictures_show_annotation_and_detection(tiny_coco, results, tmp_path):
    assert suspects(tiny_coco, tmp_path / "out", "--detections", results).exit_code == 0
    with Image.open(tmp_path / "out" / "class.jpg") as picture:
        colours = [colour for _, colour in picture.getcolors(2**24)]
    for wanted in ((230, 159, 0), (86, 180, 233)):
        assert min(max(abs(a - b) for a, b in zip(colour, wanted)) for colour in colours) < 25


def test_a_later_call_replaces_what_the_first_wrote(tiny_coco, results, tmp_path):
    out = tmp_path / "out"
    assert suspects(tiny_coco, out, "--detections", results).exit_code == 0
    result = suspects(tiny_coco, out, "--detections", results, "--min-score", 0.95, "--pictures", 2)
    assert result.stdout.splitlines()[1:] == [
        "Missing objects: 0", "", "Wrong classes: 0", "", "Bad masks and boxes: 0", "",
        "Annotations without an object: 0", f"Wrote suspects.json, suspects.csv into {out}.",
    ]  # fmt: skip
    assert sorted(path.name for path in out.iterdir()) == ["suspects.csv", "suspects.json"]
    assert suspect_panels(out).panels == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give one of --folds, --weights and --detections"),
        (("--folds", 2), "give either --config FILE or --preset NAME with --folds"),
        (("--detections", "results.json", "--preset", "scenes-small"), "go with --folds"),
    ],
)
def test_options_that_do_not_go_together(tiny_coco, results, tmp_path, options, message):
    options = [results if option == "results.json" else option for option in options]
    result = suspects(tiny_coco, tmp_path / "out", *options)
    assert result.exit_code == 2 and message in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "is no list of COCO results"),
        ([{"image_id": 3}], "result 1 lacks the field 'category_id'; write it again"),
        ([{**DETECTED, "segmentation": [[0, 0, 1, 1, 0, 1]]}], "result 1 has a segmentation that is no compressed"),
        ([{**DETECTED, "segmentation": {"size": [1, 1], "counts": "1"}}], "the run-length code has size [1, 1]"),
        ([DETECTED, {**DETECTED, "image_id": 4}], "image id 4, which is not in the annotations"),
    ],
)
def test_detections_that_cannot_be_used(tiny_coco, tmp_path, content, message):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content))
    result = suspects(tiny_coco, tmp_path / "out", "--detections", path)
    assert result.exit_code == 1 and message in result.output.splitlines()[-1]
    path.write_text("[")
    assert "cannot be read as JSON" in suspects(tiny_coco, tmp_path / "out", "--detections", path).output


def test_a_folder_without_suspects_is_named_by_the_report(tmp_path):
    with pytest.raises(UserError, match="has no suspects.json; name a folder that"):
        suspect_panels(tmp_path)
