"""`keras-mrcnn data split`: the parts it writes, what it says, and what it refuses."""

from __future__ import annotations

import json

import pytest
from command_line import error_line, run
from data.formats.made_content import links, square, write_pictures

from keras_mrcnn.data.coco import CocoDataset, load_annotations


@pytest.fixture
def source(tmp_path):
    """Ten pictures in four folders, with an object each; the class of the first two is rare."""
    folders = "aaaabbbccd"
    images = [
        {"id": number, "file_name": f"{folder}/{number}.png", "height": 9, "width": 9, "patient": f"P{folder}"}
        for number, folder in enumerate(folders, start=1)
    ]
    annotations = [
        {
            "id": image["id"], "image_id": image["id"], "category_id": 1 + (image["id"] < 3), "iscrowd": 0,
            "bbox": [1, 1, 3, 3], "area": 9, "segmentation": [square(1, 1, 3)],
        }
        for image in images
    ]  # fmt: skip
    categories = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_pictures(content, tmp_path / "source" / "images")
    (tmp_path / "source" / "annotations.json").write_text(json.dumps(content))
    return tmp_path / "source"


def split(source, out, *options):
    return run("data", "split", source / "annotations.json", out, "--images", source / "images", *options)


def names(out, part):
    return [image["file_name"] for image in load_annotations(out / "annotations" / f"{part}.json")["images"]]


def test_parts_are_data_sets_with_links(source, tmp_path):
    result = split(source, tmp_path / "out", "--val", "0.2")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1:] == [
        "       images  share  objects  classes",
        "train       8  80.0%        8        2",
        "val         2  20.0%        2        2",
        f"Wrote {tmp_path / 'out'}.",
    ]
    assert result.stderr == ""
    assert len(links(tmp_path / "out")) == 10
    for part, count in (("train", 8), ("val", 2)):
        dataset = CocoDataset(tmp_path / "out" / "annotations" / f"{part}.json", tmp_path / "out" / "images" / part)
        assert len(dataset) == count and dataset.class_names == ("dog", "cat")
        assert all(dataset.load_image(image_id).shape == (9, 9, 3) for image_id in dataset.image_ids)
    assert run("data", "check", tmp_path / "out").exit_code == 0


def test_seed(source, tmp_path):
    for number, seed in enumerate((0, 0, 1)):
        assert split(source, tmp_path / str(number), "--seed", seed).exit_code == 0
    first, again, other = (names(tmp_path / str(number), "val") for number in range(3))
    assert first == again != other


@pytest.mark.parametrize("by", ["folder", "patient", "name:[0-9]"])
def test_groups(source, tmp_path, by):
    result = split(source, tmp_path / "out", "--by", by, "--val", "0.3")
    assert result.exit_code == 0, result.output
    assert f"Kept {9 if by.startswith('name') else 4} groups together ({by})." in result.stdout
    if not by.startswith("name"):
        train, val = ({name[0] for name in names(tmp_path / "out", part)} for part in ("train", "val"))
        assert not train & val and len(names(tmp_path / "out", "val")) == 3
        assert result.stderr == "In one part only, although in several images: cat.\n"


def test_share_that_cannot_be_met(source, tmp_path):
    content = json.loads((source / "annotations.json").read_text("utf-8"))
    content["images"] = [{**image, "camera": int(image["id"] > 1)} for image in content["images"]]
    (source / "annotations.json").write_text(json.dumps(content))
    result = split(source, tmp_path / "out", "--val", "0.5", "--by", "camera")
    assert "1 of 10 images are for validation, not 50.0%, so that groups stay together" in result.stderr


def test_refusals(source, tmp_path):
    assert split(source, tmp_path / "out", "--val", "1").exit_code == 2
    assert "has no field 'doctor'" in split(source, tmp_path / "out", "--by", "doctor").stderr
    assert not (tmp_path / "out").exists()
    assert split(source, tmp_path / "out").exit_code == 0
    assert "is not empty" in error_line(split(source, tmp_path / "out"))
    assert split(source, tmp_path / "out", "--overwrite").exit_code == 0
    result = run("data", "split", tmp_path / "out", tmp_path / "again")
    assert result.exit_code == 2 and "has the splits train, val already; choose one with --split" in result.stderr
    assert run("data", "split", tmp_path / "out", tmp_path / "again", "--split", "train").exit_code == 0


def test_missing_pictures_are_told(source, tmp_path):
    (source / "images" / "d" / "10.png").unlink()
    result = split(source, tmp_path / "out")
    assert "Left out: 1 picture that does not exist." in result.stderr
    assert split(source, tmp_path / "less", "--skip-missing").exit_code == 0
    assert len(names(tmp_path / "less", "train") + names(tmp_path / "less", "val")) == 9
