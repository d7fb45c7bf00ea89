import json

import numpy as np
import pytest
from PIL import Image

from keras_mrcnn.data.check import DataError, check_dataset, drop_bad
from keras_mrcnn.data.coco import CocoDataset


def check(tiny_coco, content=None):
    annotation_file, folder, original = tiny_coco
    annotation_file.write_text(json.dumps(original if content is None else content))
    return check_dataset(annotation_file, folder)


def summary(problems):
    return [(problem.kind, problem.file_name, problem.annotation_id) for problem in problems]


def test_good_data_has_no_problems(tiny_coco):
    steps = []
    assert check_dataset(*tiny_coco[:2], progress=lambda done, total: steps.append((done, total))) == []
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_real_data_has_no_problems(coco_mini):
    annotations = coco_mini / "annotations"
    assert check_dataset(annotations / "vehicle_person_animal_val.json", coco_mini / "images" / "val") == []


def test_image_files(tiny_coco):
    _, folder, _ = tiny_coco
    (folder / "image3.png").unlink()
    (folder / "image5.png").write_text("no picture")
    whole = (folder / "image8.png").read_bytes()
    (folder / "image8.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.zeros((51, 50, 3), np.uint8)).save(folder / "image9.png")
    problems = check(tiny_coco)
    assert summary(problems) == [
        ("missing file", "image3.png", None),
        ("unreadable file", "image5.png", None),
        ("unreadable file", "image8.png", None),
        ("size mismatch", "image9.png", None),
    ]
    assert "is not an image" in problems[1].message
    assert "is damaged" in problems[2].message
    assert "the file is 50 x 51 pixels, the annotations say 50 x 50" in problems[3].message
    assert all("\n" not in str(problem) and problem.file_name in str(problem) for problem in problems)


def test_size_is_taken_after_the_exif_orientation(tiny_coco):
    _, folder, content = tiny_coco
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((60, 40, 3), np.uint8)).save(folder / "image3.png", exif=exif)
    assert check(tiny_coco) == []
    content["images"][0].update(width=40, height=60)
    (problem,) = (p for p in check(tiny_coco) if p.kind == "size mismatch")
    assert "EXIF" in problem.message


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"bbox": [10, 10, 0, 20]}, "box without area"),
        ({"bbox": [10, 10, 20, -3]}, "box without area"),
        ({"bbox": [70, 10, 5, 5]}, "box outside"),
        ({"bbox": [10, 10, 52, 20]}, "box outside"),
        ({"bbox": [-2, 10, 20, 20]}, "box outside"),
        ({"bbox": [10, 10, float("nan"), 20]}, "malformed record"),
        ({"bbox": [10, 10, 20]}, "malformed record"),
        ({"bbox": "10 10 20 20"}, "malformed record"),
        ({"segmentation": []}, "bad segmentation"),
        ({"segmentation": [[1, 2, float("nan"), 4, 5, 6]]}, "bad segmentation"),
        ({"segmentation": {"size": [1, 2], "counts": [1, 1]}}, "bad segmentation"),
        ({"category_id": 1}, "unknown category"),
        ({"category_id": None}, "malformed record"),
        ({"id": 2}, "duplicate id"),
        ({"id": "one"}, "malformed record"),
    ],
)
def test_annotations(tiny_coco, change, kind):
    content = tiny_coco[2]
    content["annotations"][0].update(change)
    (problem,) = check(tiny_coco)
    assert (problem.kind, problem.file_name) == (kind, "image3.png")
    # Of two annotations with one id, the second is reported.
    assert problem.record == ("annotations", 1 if kind == "duplicate id" else 0)
    assert f"annotation {content['annotations'][0]['id']}" in str(problem)


def test_box_may_pass_the_border_by_a_pixel(tiny_coco):
    tiny_coco[2]["annotations"][0]["bbox"] = [-1, -0.5, 62, 40]
    assert check(tiny_coco) == []


def test_several_faults_of_one_annotation_are_all_listed(tiny_coco):
    tiny_coco[2]["annotations"][0].update(bbox=[0, 0, 0, 0], segmentation=[], category_id=99)
    kinds = {problem.kind for problem in check(tiny_coco)}
    assert kinds == {"box without area", "bad segmentation", "unknown category"}


def test_unknown_and_malformed_images(tiny_coco):
    content = tiny_coco[2]
    content["annotations"][0]["image_id"] = 77
    del content["images"][1]["height"]
    content["images"].append({"id": 9, "file_name": "image9.png", "height": 50, "width": 50})
    content["images"].append("image10.png")
    problems = check(tiny_coco)
    assert summary(problems) == [
        ("malformed record", "image5.png", None),
        ("duplicate id", "image9.png", None),
        ("malformed record", str(tiny_coco[0]), None),
        ("unknown image", str(tiny_coco[0]), 1),
    ]
    assert "lacks the field 'height'" in problems[0].message


def test_categories(tiny_coco):
    categories = tiny_coco[2]["categories"]
    categories += [{"id": 7, "name": "again"}, {"id": 8, "name": "dog"}, {"id": 9}]
    kinds = [(problem.kind, problem.record) for problem in check(tiny_coco)]
    assert kinds == [
        ("duplicate id", ("categories", 2)),
        ("duplicate name", None),
        ("malformed record", ("categories", 4)),
    ]


@pytest.mark.parametrize("name", ["annotations", "images"])
def test_nothing_to_train_on(tiny_coco, name):
    content = {**tiny_coco[2], "annotations": [], name: []}
    assert {problem.kind for problem in check(tiny_coco, content)} == {"no annotations"}


def test_files_that_are_not_coco_are_one_problem(tiny_coco):
    annotation_file, folder, _ = tiny_coco
    for text in ("{", "[1, 2]", '{"images": []}'):
        annotation_file.write_text(text)
        (problem,) = check_dataset(annotation_file, folder)
        assert (problem.kind, problem.file_name) == ("annotation file", str(annotation_file))
    (problem,) = check_dataset(folder / "no.json", folder)
    assert "does not exist" in problem.message


def test_records_of_a_wrong_type_are_problems_not_tracebacks(tiny_coco):
    content = {"images": [3, {}], "annotations": [None, [], {"id": 1, "image_id": []}], "categories": [[]]}
    kinds = [problem.kind for problem in check(tiny_coco, content)]
    assert kinds == ["malformed record"] * 6


def test_drop_bad_takes_out_and_counts(tiny_coco):
    annotation_file, folder, content = tiny_coco
    (folder / "image5.png").unlink()
    content["annotations"][0].update(bbox=[0, 0, 0, 0], segmentation=[])  # two problems, dropped once
    problems = check(tiny_coco)
    cleaned, counts = drop_bad(annotation_file, folder, problems)
    assert counts == {"missing file": 1, "box without area": 1, "annotation of a dropped image": 2}
    dataset = CocoDataset(cleaned, folder)
    assert dataset.image_ids == [3, 8, 9]
    assert [annotation["id"] for annotation in dataset.annotations(3)] == [2]
    annotation_file.write_text(json.dumps(cleaned))
    assert check_dataset(annotation_file, folder) == []


def test_drop_bad_of_good_data_changes_nothing(tiny_coco):
    assert drop_bad(*tiny_coco[:2], []) == (tiny_coco[2], {})


def test_drop_bad_refuses_what_cannot_be_skipped(tiny_coco):
    annotation_file, folder, content = tiny_coco
    problems = check(tiny_coco, {**content, "annotations": []})
    with pytest.raises(DataError, match="cannot be skipped"):
        drop_bad(annotation_file, folder, problems)
    for record in content["images"]:
        (folder / record["file_name"]).unlink()
    problems = check(tiny_coco)
    with pytest.raises(DataError, match="nothing is left in 'images'"):
        drop_bad(annotation_file, folder, problems)
