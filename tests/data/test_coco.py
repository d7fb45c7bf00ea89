import copy
import json
import re

import numpy as np
import pytest
from conftest import tiny_content

from keras_mrcnn.data.coco import CocoDataset, load_annotations


def test_tables_of_a_data_set(tiny_coco):
    annotation_file, folder, _ = tiny_coco
    dataset = CocoDataset(annotation_file, folder)
    assert len(dataset) == 4
    assert dataset.class_names == ("kite", "dog")  # in the order of the ids 7 and 18, not of the file
    assert dataset.category_ids == (7, 18)
    assert dataset.image_ids == [3, 5, 8, 9]
    assert dataset.image_sizes.tolist() == [[40, 60], [64, 48], [40, 60], [50, 50]]
    assert dataset.image_path(5) == folder / "image5.png"
    assert dataset.load_image(5).shape == (64, 48, 3)


def test_nothing_is_printed(tiny_coco, capsys):
    CocoDataset(*tiny_coco[:2])
    assert capsys.readouterr().out == ""


def test_ground_truth_of_polygons(tiny_coco):
    truth = CocoDataset(*tiny_coco[:2]).ground_truth(3, mask_size=8)
    assert truth.boxes.tolist() == [[10, 10, 30, 30], [40, 5, 50, 15]]
    assert truth.labels.tolist() == [2, 1]
    assert truth.class_names == ("dog", "kite")
    assert truth.image_size == (40, 60)
    assert truth.masks.shape == (2, 8, 8)
    assert truth.masks.min() == 255


def test_run_length_code_is_decoded(tiny_coco):
    truth = CocoDataset(*tiny_coco[:2]).ground_truth(8, mask_size=4)
    assert truth.boxes.tolist() == [[10, 10, 30, 30]]
    assert truth.masks.min() == 255


def test_crowds_are_left_out_but_kept_for_evaluation(tiny_coco):
    dataset = CocoDataset(*tiny_coco[:2])
    assert [annotation["id"] for annotation in dataset.annotations(5)] == [3]
    assert sorted(dataset.coco.getAnnIds(imgIds=[5])) == [3, 4]


def test_image_without_objects(tiny_coco):
    truth = CocoDataset(*tiny_coco[:2]).ground_truth(9, mask_size=28)
    assert truth.boxes.shape == (0, 4)
    assert truth.labels.shape == (0,)
    assert truth.masks.shape == (0, 28, 28)


def test_chosen_classes_only(tiny_coco):
    dataset = CocoDataset(*tiny_coco[:2], class_names=["dog"])
    assert dataset.class_names == ("dog",)
    assert dataset.ground_truth(3).labels.tolist() == [1]
    assert dataset.annotations(3)[0]["category_id"] == 18


def test_unknown_class_name_is_named(tiny_coco):
    with pytest.raises(ValueError, match=r"class_names has 'cat', .* it has kite, dog"):
        CocoDataset(*tiny_coco[:2], class_names=["dog", "cat"])


def test_fields_that_evaluation_needs_are_filled_in(tmp_path):
    content = tiny_content()
    content["annotations"] = [{**content["annotations"][0], "id": 0}, content["annotations"][1]]
    for annotation in content["annotations"]:
        del annotation["area"], annotation["iscrowd"]
    before = copy.deepcopy(content)
    annotations = CocoDataset(content, tmp_path).annotations(3)
    assert [annotation["area"] for annotation in annotations] == [400, 100]
    assert [annotation["iscrowd"] for annotation in annotations] == [0, 0]
    assert [annotation["id"] for annotation in annotations] == [3, 2]  # COCOeval takes 0 for "no match"
    assert content == before


def test_boxes_need_no_segmentation(tmp_path):
    content = tiny_content()
    for annotation in content["annotations"]:
        annotation.update(segmentation=[])
        del annotation["area"]
    dataset = CocoDataset(content, tmp_path)
    assert dataset.ground_truth(3, mask_size=0).boxes.tolist() == [[10, 10, 30, 30], [40, 5, 50, 15]]
    assert [annotation["area"] for annotation in dataset.annotations(3)] == [400, 100]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [10, 10, 0, 5]}, "the box of annotation 1 has no area inside the image image3.png"),
        ({"bbox": [100, 10, 5, 5]}, "the box of annotation 1 has no area inside the image image3.png"),
        ({"segmentation": [[]]}, "annotation 1 of image image3.png cannot be used \\(polygon 1"),
        ({"segmentation": []}, "annotation 1 of image image3.png has no segmentation"),
        ({"segmentation": {"size": [5, 5], "counts": [5, 20]}}, r"image3.png .*has size \[5, 5\], the image \["),
    ],
)
def test_bad_annotation_is_named(tmp_path, change, message):
    content = tiny_content()
    content["annotations"][0].update(change)
    with pytest.raises(ValueError, match=message):
        CocoDataset(content, tmp_path).ground_truth(3)


def test_image_of_another_size_is_named(tiny_coco):
    _, folder, content = tiny_coco
    content["images"][0]["width"] = 61
    with pytest.raises(ValueError, match=r"image3\.png is 60 x 40 pixels, but the annotations say 61 x 40"):
        CocoDataset(content, folder).load_image(3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON"),
        ("[]", "is not a COCO file"),
        ('{"images": [], "annotations": {}}', "has no list 'annotations'"),
        ('{"images": [], "annotations": []}', "has no list 'categories'"),
    ],
)
def test_files_that_are_not_coco(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} {message}"):
        load_annotations(path)


def test_missing_annotation_file(tmp_path):
    with pytest.raises(ValueError, match=r"no\.json does not exist"):
        CocoDataset(tmp_path / "no.json", tmp_path)
    with pytest.raises(ValueError, match="cannot be read"):
        load_annotations(tmp_path)


@pytest.mark.parametrize("records", [[{"id": 1}], [5]])
def test_malformed_records_give_one_sentence(tmp_path, records):
    content = {**tiny_content(), "annotations": records}
    with pytest.raises(ValueError, match="keras-mrcnn data check"):
        CocoDataset(content, tmp_path)


def test_real_annotations(coco_mini):
    annotation_file = coco_mini / "annotations" / "instances_train.json"
    dataset = CocoDataset(annotation_file, coco_mini / "images" / "train")
    assert (len(dataset), len(dataset.class_names)) == (100, 80)
    truths = [dataset.ground_truth(image_id, mask_size=14) for image_id in dataset.image_ids[:20]]
    raw = json.loads(annotation_file.read_text())["annotations"]
    kept = [a for a in raw if a["image_id"] in dataset.image_ids[:20] and not a["iscrowd"]]
    assert sum(len(truth.labels) for truth in truths) == len(kept)
    for truth, image_id in zip(truths, dataset.image_ids):
        areas = [annotation["area"] for annotation in dataset.annotations(image_id)]
        sides = truth.boxes[:, 2:] - truth.boxes[:, :2]
        covered = truth.masks.mean(axis=(1, 2)) / 255 * sides.prod(axis=1)
        # The coverage adds up to the object's area: nothing of the mask is outside of its box.
        np.testing.assert_allclose(covered, areas, rtol=0.01, atol=1)
