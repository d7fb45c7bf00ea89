"""What all written formats share: parts, links, folders that hold something, and malformed contents."""

from __future__ import annotations

import os
import shutil

import pytest
import yaml
from data.formats.made_content import annotation, links, made_content, square, write_pictures

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.coco import load_annotations
from keras_mrcnn.data.formats.writing import WRITTEN_FORMATS, Part, folder_part, write_annotations, write_dataset
from keras_mrcnn.data.formats.writing.dataset import check_out

everywhere = pytest.mark.parametrize("format", WRITTEN_FORMATS)


def refusal(*arguments, **options):
    with pytest.raises(UserError) as caught:
        write_annotations(*arguments, **options)
    return str(caught.value)


def contents(folder):
    """The text of each file and the target of each link."""
    return {
        path.relative_to(folder).as_posix(): os.readlink(path) if path.is_symlink() else path.read_text("utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@pytest.fixture
def pictures(tmp_path):
    return write_pictures(made_content(), tmp_path / "pictures")


@everywhere
def test_parts_with_names(tmp_path, pictures, format):
    part = folder_part(made_content(), pictures)
    report = write_dataset({"train": part, "val": part}, tmp_path / "out", format)
    assert (report.images, report.objects, report.notes) == (6, 10, ())
    names = {"coco": "images/{}/b.jpg", "labelme": "{}/b.jpg", "yolo": "images/{}/b.jpg"}[format]
    assert {names.format("train"), names.format("val")} <= links(tmp_path / "out").keys()
    if format == "yolo":
        description = yaml.safe_load((tmp_path / "out" / "dataset.yaml").read_text("utf-8"))
        assert (description["train"], description["val"]) == ("images/train", "images/val")


def test_parts_that_number_their_classes_differently(tmp_path):
    first, second = made_content(), made_content()
    second["categories"] = [{"id": 18, "name": "traffic light"}, {"id": 4, "name": "cat"}]
    write_dataset({"train": Part(first, {}), "val": Part(second, {})}, tmp_path / "out", "coco")
    for split, expected in (("train", [1, 2]), ("val", [2, 3])):
        written = load_annotations(tmp_path / "out" / "annotations" / f"{split}.json")
        assert [(one["id"], one["name"]) for one in written["categories"]] == [
            (1, "dög"), (2, "traffic light"), (3, "cat"),
        ]  # fmt: skip
        assert [item["category_id"] for item in written["annotations"][:2]] == expected


def test_parts_that_agree_keep_their_numbers(tmp_path):
    first, second = made_content(), made_content()
    del first["categories"][0]
    first["annotations"] = []
    write_dataset({"train": Part(first, {}), "val": Part(second, {})}, tmp_path / "out", "coco")
    written = load_annotations(tmp_path / "out" / "annotations" / "train.json")
    assert [one["id"] for one in written["categories"]] == [4, 18]


@everywhere
def test_links_move_with_the_pictures(tmp_path, pictures, format):
    write_annotations(made_content(), pictures, tmp_path / "out", format)
    shutil.move(tmp_path, tmp_path.with_name("elsewhere"))
    moved = tmp_path.with_name("elsewhere")
    assert all(path.is_file() for path in links(moved / "out").values()) and len(links(moved / "out")) == 3
    shutil.move(moved, tmp_path)


def test_links_lead_to_the_picture_itself(tmp_path, pictures):
    write_annotations(made_content(), pictures, tmp_path / "one", "coco")
    write_annotations(made_content(), tmp_path / "one" / "images" / "train", tmp_path / "two", "coco")
    shutil.rmtree(tmp_path / "one")
    assert all(path.is_file() for path in links(tmp_path / "two").values())


def test_hard_links_where_there_are_no_others(tmp_path, pictures, monkeypatch):
    def fail(*arguments, **options):
        raise OSError(1314, "A required privilege is not held by the client")

    monkeypatch.setattr(os, "symlink", fail)
    write_annotations(made_content(), pictures, tmp_path / "out", "labelme")
    assert (tmp_path / "out" / "b.jpg").stat().st_ino == (pictures / "b.jpg").stat().st_ino
    write_annotations(made_content(), pictures, tmp_path / "out", "labelme", overwrite=True)
    assert (pictures / "b.jpg").is_file()
    monkeypatch.setattr(os, "link", fail)
    sentence = refusal(made_content(), pictures, tmp_path / "other", "labelme")
    assert sentence.startswith(f"{tmp_path / 'other' / 'b.jpg'} cannot be a link to ") and "write to a" in sentence
    assert not (tmp_path / "other").exists()


@everywhere
def test_pictures_that_do_not_exist_are_counted(tmp_path, pictures, format):
    (pictures / "b.jpg").unlink()
    report = write_annotations(made_content(), pictures, tmp_path / "out", format)
    assert report.skipped["picture that does not exist"] == 1 and len(links(tmp_path / "out")) == 2


@everywhere
def test_folder_that_is_not_empty_is_refused(tmp_path, pictures, format):
    out = tmp_path / "out"
    out.mkdir()
    write_annotations(made_content(), pictures, out, format)  # an empty one is not
    before = contents(out)
    sentence = refusal({**made_content(), "annotations": []}, pictures, out, format)
    assert sentence == f"{out} is not empty; name another folder, or replace what it holds with --overwrite"
    assert contents(out) == before


@everywhere
def test_folder_is_replaced_on_request(tmp_path, pictures, format):
    out = tmp_path / "out"
    write_annotations(made_content(), pictures, out, format)
    less = made_content()
    del less["images"][2]
    write_annotations(less, pictures, out, format, overwrite=True)
    assert len(links(out)) == 2 and len(list(pictures.rglob("*.*"))) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "pictures"]


@everywhere
@pytest.mark.parametrize("name", ["photo.jpg", "notes.txt", "annotations/notes.md", "other.json"])
def test_folder_with_something_else_is_never_replaced(tmp_path, pictures, format, name):
    out = tmp_path / "out"
    write_annotations(made_content(), pictures, out, format)
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("[1]")
    before = contents(out)
    sentence = refusal(made_content(), pictures, out, format, overwrite=True)
    assert sentence.startswith(f"{out} holds {name}, which is no annotation of this format and no link")
    assert contents(out) == before


def test_another_format_is_not_replaced(tmp_path, pictures):
    out = tmp_path / "out"
    write_annotations(made_content(), pictures, out, "labelme")
    assert "out holds " in refusal(made_content(), pictures, out, "yolo", overwrite=True)


def test_failure_changes_nothing(tmp_path, pictures, monkeypatch):
    out = tmp_path / "out"
    write_annotations(made_content(), pictures, out, "coco")
    before, replace = contents(out), os.replace

    def fail(source, target):
        if str(target) == str(out) and str(source).endswith(".tmp"):
            raise OSError(28, "No space left on device", str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write_annotations(made_content(), pictures, out, "coco", overwrite=True)
    assert contents(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "pictures"]


def test_one_file_is_replaced_on_request_only(tmp_path):
    out = tmp_path / "a.json"
    write_annotations(made_content(), tmp_path, out, "coco")
    assert refusal(made_content(), tmp_path, out, "coco") == (
        f"{out} exists; name another file, or replace it with --overwrite"
    )
    write_annotations(made_content(), tmp_path, out, "coco", overwrite=True)
    out.write_text("{}")
    assert refusal(made_content(), tmp_path, out, "coco", overwrite=True) == (
        f"{out} is no COCO file and is not replaced; name another file"
    )


def test_one_file_cannot_hold_two_parts(tmp_path):
    part = Part(made_content(), {})
    with pytest.raises(UserError, match="is one file, and the data have the parts train, val; choose one with --split"):
        write_dataset({"train": part, "val": part}, tmp_path / "a.json", "coco")


def test_file_in_the_way(tmp_path):
    (tmp_path / "out").write_text("mine")
    assert refusal(made_content(), tmp_path, tmp_path / "out", "yolo") == (
        f"{tmp_path / 'out'} is a file; name a folder that is new or empty"
    )


def test_out_can_be_checked_before_the_work(tmp_path):
    check_out(tmp_path / "new", "labelme")
    (tmp_path / "a.txt").touch()
    with pytest.raises(UserError, match="is not empty"):
        check_out(tmp_path, "labelme")


def test_unknown_format(tmp_path):
    assert refusal(made_content(), tmp_path, tmp_path / "out", "voc") == (
        "there is no format voc to write; choose one of coco, labelme, yolo"
    )


@pytest.mark.parametrize("format", ["labelme", "yolo"])
def test_pictures_with_one_stem(tmp_path, format):
    content = made_content()
    content["images"][2]["file_name"] = "b.png"
    sentence = refusal(content, tmp_path, tmp_path / "out", format)
    assert sentence.startswith("two images would share the file ") and sentence.endswith("; rename one of them")
    assert list(tmp_path.iterdir()) == []


@everywhere
@pytest.mark.parametrize("name", ["../b.jpg", "/data/b.jpg", "a/../../b.jpg", ".", "b\0.jpg"])
def test_names_that_lead_out_of_the_folder(tmp_path, format, name):
    content = made_content()
    content["images"][0]["file_name"] = name
    assert refusal(content, tmp_path, tmp_path / "out", format).startswith(
        f"the file name {name!r} leads out of the image folder"
    )


def test_annotations_that_belong_nowhere_are_counted(tmp_path):
    content = made_content()
    content["annotations"] += [
        annotation(21, [square(1, 1, 2)], image_id=99), annotation(22, [square(1, 1, 2)], category_id=99),
    ]  # fmt: skip
    report = write_annotations(content, tmp_path, tmp_path / "out", "labelme")
    assert report.objects == 5 and report.skipped == {
        "annotation of an image that is not listed": 1,
        "annotation of a category that is not listed": 1,
        "picture that does not exist": 3,
    }


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c.pop("images"), "the annotations have no list 'images'; give the content of a COCO file"),
        (lambda c: c["images"][1].pop("width"), "entry 2 of 'images' in the annotations lacks the field 'width'"),
        (lambda c: c["annotations"][0].update(bbox=None), "entry 1 of 'annotations' in the annotations has the bad"),
        (lambda c: c["images"].append(c["images"][0]), "the image id 3 is there 2 times in the annotations"),
        (lambda c: c["categories"].append({"id": 4, "name": "x"}), "the category id 4 is there 2 times"),
        (lambda c: c["categories"].append({"id": 5, "name": "dög"}), "the category name dög is there 2 times"),
        (
            lambda c: c["annotations"][0].update(segmentation=[[1, 2]]),
            "the segmentation of annotation 1 of image b.jpg cannot be written (polygon 1 has 2 numbers",
        ),
    ],
)
def test_malformed_content(tmp_path, change, sentence):
    content = made_content()
    change(content)
    assert refusal(content, tmp_path, tmp_path / "out", "coco").startswith(sentence)
    assert list(tmp_path.iterdir()) == []
