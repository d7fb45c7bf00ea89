"""`keras-mrcnn data convert`: what it says, what it asks, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from child_programs import child_environment
from click.testing import CliRunner
from command_line import error_line, run
from data.formats.made_content import annotation, code_of, links, made_content, ring, square, write_pictures

from keras_mrcnn.cli import main
from keras_mrcnn.cli.data_convert import TARGETS
from keras_mrcnn.data.coco import load_annotations
from keras_mrcnn.data.formats import FORMATS
from keras_mrcnn.data.formats.writing import WRITTEN_FORMATS, write_annotations


@pytest.fixture
def coco(tmp_path):
    """A data-set folder of COCO with two splits."""
    for split in ("train", "val"):
        content = made_content()
        write_pictures(content, tmp_path / "coco" / "images" / split)
        path = tmp_path / "coco" / "annotations" / f"{split}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
    return tmp_path / "coco"


def cvat_file(folder):
    """A COCO file whose masks all are crowd regions, as CVAT exports masks."""
    content = made_content()
    content["annotations"] = [
        annotation(number, code_of(ring()), iscrowd=1, attributes={"occluded": False}) for number in (1, 2)
    ]
    write_pictures(content, folder / "images")
    path = folder / "annotations" / "instances_default.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_all_splits(coco, tmp_path):
    result = run("data", "convert", coco, tmp_path / "yolo", "--to", "yolo")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"Read 3 images with 5 objects and 1 crowd region from {coco}, train (coco).",
        f"Read 3 images with 5 objects and 1 crowd region from {coco}, val (coco).",
        f"Wrote 6 images with 10 objects to {tmp_path / 'yolo'} (yolo).",
    ]
    assert result.stderr.splitlines() == ["Left out: 2 crowd region."]
    assert (tmp_path / "yolo" / "labels" / "val" / "b.txt").is_file()


def test_one_split_and_back(coco, tmp_path):
    assert run("data", "convert", coco, tmp_path / "a", "--to", "labelme", "--split", "val").exit_code == 0
    assert "b.jpg" in links(tmp_path / "a" / "val")
    result = run("data", "convert", tmp_path / "a", tmp_path / "b", "--to", "coco", "--format", "labelme")
    assert result.exit_code == 0 and "with 5 objects and 1 crowd region" in result.stdout, result.output
    (path,) = (tmp_path / "b" / "annotations").iterdir()
    assert len(load_annotations(path)["annotations"]) == 6


def test_one_file(coco, tmp_path):
    arguments = ("data", "convert", coco, tmp_path / "val.json", "--to", "coco")
    assert error_line(run(*arguments[:4], "--to", "coco", "--split", "none")).startswith(f"{coco} has no split none")
    result = run(*arguments)
    assert "is one file, and the data have the parts train, val; choose one with --split" in result.stderr
    result = run(*arguments, "--split", "val")
    assert result.exit_code == 0 and "name that folder with --images" in result.stderr
    assert len(load_annotations(tmp_path / "val.json")["images"]) == 3


def test_nothing_is_read_if_it_cannot_be_written(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").touch()
    sentence = error_line(run("data", "convert", tmp_path / "out", tmp_path / "out", "--to", "yolo"))
    assert sentence.endswith("is not empty; name another folder, or replace what it holds with --overwrite")


def test_overwrite(coco, tmp_path):
    arguments = ("data", "convert", coco, tmp_path / "out", "--to", "labelme")
    assert run(*arguments).exit_code == 0
    assert "--overwrite" in error_line(run(*arguments))
    assert run(*arguments, "--overwrite").exit_code == 0


def test_cvat_question_without_anybody_to_ask(tmp_path):
    source = cvat_file(tmp_path / "cvat")
    sentence = error_line(run("data", "convert", source, tmp_path / "out", "--to", "labelme"))
    assert "--crowds objects" in sentence and "--crowds regions" in sentence
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("answer", ["objects", "regions"])
def test_cvat_question(tmp_path, monkeypatch, answer):
    written = {"objects": "2 objects", "regions": "0 objects and 2 crowd regions"}[answer]
    source = cvat_file(tmp_path / "cvat")
    by_option = run("data", "convert", source, tmp_path / "a", "--to", "labelme", "--crowds", answer)
    assert f"Wrote 3 images with {written} to" in by_option.stdout, by_option.output
    monkeypatch.setattr("keras_mrcnn.cli.annotation_source._is_terminal", lambda: True)
    arguments = ["data", "convert", str(source), str(tmp_path / "b"), "--to", "labelme"]
    by_answer = CliRunner().invoke(main, arguments, input=f"perhaps\n{answer}\n")
    assert by_answer.exit_code == 0 and f"Wrote 3 images with {written} to" in by_answer.stdout, by_answer.output
    assert "Are they objects or regions?" in by_answer.stdout


def test_missing_pictures(tmp_path):
    content = made_content()
    pictures = write_pictures(content, tmp_path / "pictures")
    write_annotations(content, pictures, tmp_path / "a.json", "coco")
    (pictures / "empty.jpg").unlink()
    arguments = ("data", "convert", tmp_path / "a.json", "--to", "labelme", "--images", pictures)
    kept = run(*arguments, tmp_path / "all")
    assert "Wrote 3 images" in kept.stdout and "Left out: 1 picture that does not exist." in kept.stderr, kept.output
    without = run(*arguments, tmp_path / "some", "--skip-missing")
    assert "Wrote 2 images" in without.stdout and "Left out: 1 missing picture." in without.stderr, without.output


def test_malformed_source(tmp_path):
    (tmp_path / "a.json").write_text('{"images": [], "annotations": [')
    sentence = error_line(run("data", "convert", tmp_path / "a.json", tmp_path / "b", "--to", "coco"))
    assert str(tmp_path / "a.json") in sentence


def test_help_names_all_formats():
    text = " ".join(run("data", "convert", "--help").output.replace("-\n", "-").split()).replace("- ", "-")
    assert all(name in text for name in FORMATS)
    assert TARGETS == WRITTEN_FORMATS


def test_needs_no_tensorflow(coco, tmp_path):
    code = (
        "import sys; from keras_mrcnn.cli import main\n"
        f"main(['data', 'convert', {str(coco)!r}, {str(tmp_path / 'out')!r}, '--to', 'yolo'], standalone_mode=False)\n"
        f"main(['data', 'stats', {str(coco)!r}], standalone_mode=False)\n"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], env=child_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_two_objects_that_are_one(tmp_path):
    content = made_content()
    content["annotations"] = [annotation(1, [square(1, 1, 4)]), annotation(2, [square(1, 1, 4)])]
    write_annotations(content, write_pictures(content, tmp_path / "pictures"), tmp_path / "a", "yolo")
    result = run("data", "convert", tmp_path / "a", tmp_path / "b", "--to", "coco")
    assert "Left out: 1 object that is there twice." in result.stderr
