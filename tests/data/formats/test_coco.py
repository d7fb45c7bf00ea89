import json

import pytest
from annotation_files import HEIGHT, SQUARE, WIDTH, coco_content, save_picture, save_text

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.check import check_dataset
from keras_mrcnn.data.formats import CrowdQuestion, read_annotations

CODE = {"size": [HEIGHT, WIDTH], "counts": [76, 3, 41]}


def saved(tmp_path, name="a.json", **fields):
    return save_text(tmp_path / name, coco_content(**fields))


def record(number, **fields):
    return {"id": number, "image_id": 3, "category_id": 7, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0,
            "segmentation": [SQUARE], **fields}  # fmt: skip


def test_records_stay_as_they_are(tmp_path):
    save_picture(tmp_path / "a.png")
    path = saved(tmp_path, info={"year": 2026}, licenses=[])
    annotations = read_annotations(path)
    assert annotations == (coco_content(info={"year": 2026}, licenses=[]), tmp_path, "coco", {}, ())
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_annotations(path) == annotations


@pytest.mark.parametrize(
    ("annotation", "pictures"),
    [
        ("annotations/train.json", "images/train"),
        ("annotations/instances_train2017.json", "train2017"),
        ("annotations/instances_train2017.json", "images/train"),
        ("annotations/instances_default.json", "images"),
        ("annotations/instances_val.json", "images/val"),
        ("train/_annotations.coco.json", "train"),
        ("annotations.json", "JPEGImages"),
        ("result.json", "images"),
    ],
)
def test_pictures_are_looked_for_where_programs_put_them(tmp_path, annotation, pictures):
    save_picture(tmp_path / pictures / "a.png")
    path = saved(tmp_path, annotation)
    assert read_annotations(path).image_folder.samefile(tmp_path / pictures)


def test_sizes_that_are_not_said_come_from_the_files(tmp_path):
    save_picture(tmp_path / "a.png", 20, 30)
    path = saved(tmp_path, images=[{"id": 3, "file_name": "a.png", "height": None}])
    assert read_annotations(path).content["images"] == [{"id": 3, "file_name": "a.png", "height": 20, "width": 30}]
    (tmp_path / "a.png").unlink()
    sentence = r"^1 picture of .*a\.json is not in .* \(a\.png\); put what is missing there, name the folder with "
    with pytest.raises(UserError, match=sentence):
        read_annotations(path)
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"a\.png is not an image that Pillow knows"):
        read_annotations(path)


def test_missing_pictures(tmp_path):
    images = [{"id": number, "file_name": f"{number}.png", "height": HEIGHT, "width": WIDTH} for number in (3, 4, 5)]
    path = saved(tmp_path, images=images)
    save_picture(tmp_path / "4.png")
    annotations = read_annotations(path)
    assert annotations.content == coco_content(images=images)
    assert annotations.notes == (
        f"2 of 3 pictures are not in {tmp_path} (3.png and others); name the folder with --images, or leave out what "
        "is missing with --skip-missing",
    )
    annotations = read_annotations(path, skip_missing=True)
    assert annotations.content == coco_content(images=images[1:2], annotations=[])
    assert annotations.skipped == {"missing picture": 2, "object of a missing picture": 2}
    (tmp_path / "4.png").unlink()
    with pytest.raises(UserError, match=r"^no picture of .*a\.json is in .*; name their folder with --images$"):
        read_annotations(path, skip_missing=True)


@pytest.mark.parametrize(
    "name",
    [
        "images\\1/0f34ab12-my%20cat.png",
        "/data/upload/7/0f34ab12-my%20cat.png",
        "../../label-studio/data/media/upload/7/0f34ab12-my cat.png",
        "..\\..\\label-studio\\media\\upload\\7\\0f34ab12-my cat.png",
        "https://labels.example.org/data/upload/7/0f34ab12-my%20cat.png",
    ],
)
@pytest.mark.parametrize("file", ["images/0f34ab12-my cat.png", "images/my cat.png"])
def test_file_names_of_label_studio(tmp_path, name, file):
    save_picture(tmp_path / file)
    images = [{"id": 3, "file_name": name, "height": HEIGHT, "width": WIDTH}]
    annotations = read_annotations(saved(tmp_path, "result.json", images=images))
    picture = annotations.image_folder / annotations.content["images"][0]["file_name"]
    assert picture.samefile(tmp_path / file)
    assert annotations.notes[0].startswith("1 picture has another file name in ")
    assert annotations.notes[0].endswith(f"was found as {annotations.content['images'][0]['file_name']}")


def test_names_outside_the_folder_never_lead_there(tmp_path):
    save_picture(tmp_path / "secret" / "b.png")
    save_picture(tmp_path / "in" / "a.png")
    names = ["../secret/b.png", str(tmp_path / "secret" / "b.png"), "..", "a.png"]
    images = [{"id": 3 + n, "file_name": name, "height": 9, "width": 9} for n, name in enumerate(names)]
    path = saved(tmp_path / "in", images=images)
    annotations = read_annotations(path, images=tmp_path / "in")
    last = str(tmp_path / "secret" / "b.png").lstrip("/")
    assert [image["file_name"] for image in annotations.content["images"]] == ["secret/b.png", last, "picture", "a.png"]
    assert annotations.notes[0].startswith("3 of 4 pictures are not in")


def test_two_names_that_end_alike(tmp_path):
    save_picture(tmp_path / "1.png")
    images = [{"id": n, "file_name": f"day{n}/1.png", "height": HEIGHT, "width": WIDTH} for n in (3, 4)]
    with pytest.raises(UserError, match=r"^day3/1\.png and day4/1\.png of .* both mean 1\.png; name their folder with"):
        read_annotations(saved(tmp_path, images=images))


def test_roboflow_category_that_stands_for_the_project(tmp_path):
    save_picture(tmp_path / "a.png")
    others = coco_content()["categories"]
    for project in (
        {"id": 0, "name": "cat", "supercategory": "none"},
        {"id": 0, "name": "pets", "supercategory": "none"},
    ):
        kinds = [project, *({**category, "supercategory": "pets"} for category in others)]
        annotations = read_annotations(saved(tmp_path, categories=kinds))
        assert annotations.content["categories"] == kinds[1:]
        sentence = f"the category '{project['name']}' with the id 0 has no objects and is left out"
        assert annotations.notes == (sentence,)
    used = [{"id": 0, "name": "pets"}, {"id": 7, "name": "cat", "supercategory": "pets"}]
    path = saved(tmp_path, categories=used, annotations=[record(1, category_id=0)])
    assert read_annotations(path).content["categories"] == used


def test_category_ids_from_0_and_the_background(tmp_path):
    save_picture(tmp_path / "a.png")
    kinds = [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]
    path = saved(tmp_path, categories=kinds, annotations=[record(1, category_id=0)])
    assert read_annotations(path).content["categories"] == kinds
    kinds = [{"id": 0, "name": "_background_"}, {"id": 7, "name": "cat"}]
    path = saved(tmp_path, categories=kinds, annotations=[record(1)])
    annotations = read_annotations(path)
    assert annotations.content["categories"] == kinds[1:]
    assert annotations.notes == ("the category '_background_' with the id 0 has no objects and is left out",)


def test_annotation_id_0(tmp_path):
    save_picture(tmp_path / "a.png")
    annotations = read_annotations(saved(tmp_path, annotations=[record(0), record(5), record(-2)]))
    assert [a["id"] for a in annotations.content["annotations"]] == [6, 5, -2]
    assert annotations.notes == (
        "annotation 0 has the new id 6, because COCO's evaluation takes the id 0 for no object",
    )


def test_masks_that_cvat_marks_as_crowd_regions(tmp_path):
    save_picture(tmp_path / "a.png")
    attributes = {"occluded": False}
    mask = record(2, iscrowd=1, segmentation=CODE, attributes=attributes)
    path = saved(tmp_path, annotations=[record(1, attributes=attributes), mask])
    with pytest.raises(CrowdQuestion) as question:
        read_annotations(path)
    assert str(question.value) == (
        f"all masks of {path} (1) are marked as crowd regions (iscrowd 1), as CVAT does with masks of objects; say "
        "--crowds objects if each is one object, or --crowds regions if each is a region of many"
    )
    assert [a["iscrowd"] for a in read_annotations(path, crowds="regions").content["annotations"]] == [0, 1]
    annotations = read_annotations(path, crowds="objects")
    assert [a["iscrowd"] for a in annotations.content["annotations"]] == [0, 0]
    assert annotations.notes == ("1 crowd region (iscrowd 1) became an object",)
    alone = saved(tmp_path, annotations=[record(2, iscrowd=1, segmentation=CODE)])
    with pytest.raises(CrowdQuestion):
        read_annotations(alone)


def test_crowd_regions_of_coco_are_not_asked_about(tmp_path):
    save_picture(tmp_path / "a.png")
    content = [record(1), record(2, iscrowd=1, segmentation=CODE)]
    annotations = read_annotations(saved(tmp_path, annotations=content))
    assert annotations.content["annotations"] == content and annotations.notes == ()
    mixed = [record(1, segmentation=CODE, attributes={}), record(2, iscrowd=1, segmentation=CODE, attributes={})]
    assert read_annotations(saved(tmp_path, annotations=mixed)).content["annotations"] == mixed


def test_objects_without_a_mask(tmp_path):
    save_picture(tmp_path / "a.png")
    annotations = read_annotations(saved(tmp_path, annotations=[record(1), record(2, segmentation=[])]))
    assert len(annotations.content["annotations"]) == 2
    assert annotations.notes == ("1 of 2 objects has a box and no mask; --skip-bad leaves out what has none",)


def test_malformed_records_are_left_to_the_check(tmp_path):
    save_picture(tmp_path / "a.png")
    odd = [None, 3, [], {}, {"id": "x", "image_id": [], "category_id": {}}, {"id": 10**400, "segmentation": 3}]
    path = saved(tmp_path, annotations=[*odd, record(1)], categories=[*odd, *coco_content()["categories"]],
                 images=[*odd, {"id": [], "file_name": "b.png"}, *coco_content()["images"]])  # fmt: skip
    content = read_annotations(path, format="coco", skip_missing=True).content
    assert content["annotations"] == [*odd, record(1)]
    assert content["images"] == [*odd, *coco_content()["images"]]
    again = save_text(tmp_path / "again.json", json.dumps(content))
    assert len(check_dataset(again, tmp_path)) == len(check_dataset(path, tmp_path)) - 1  # without b.png


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[]", r"is not a COCO file; its top level must be an object"),
        ('{"images": [], "annotations": []}', r"has no list 'categories'"),
        ('{"images": [', r"is not valid JSON"),
    ],
)
def test_files_that_are_not_coco(tmp_path, text, sentence):
    path = save_text(tmp_path / "a.json", text)
    with pytest.raises(UserError, match=rf"^annotation file .*a\.json {sentence}"):
        read_annotations(path, format="coco")


def test_several_files_of_which_none_is_a_split(tmp_path):
    for name in ("cats", "dogs"):
        saved(tmp_path, f"{name}.json")
    save_picture(tmp_path / "a.png")
    with pytest.raises(UserError, match="has the splits cats, dogs; choose one with --split$"):
        read_annotations(tmp_path)
    assert len(read_annotations(tmp_path, split="dogs").content["images"]) == 1
