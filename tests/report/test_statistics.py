import numpy as np
from conftest import tiny_content
from report.made_runs import make_config, make_dataset

from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.report import data_statistics


def test_what_is_in_a_data_set():
    found = data_statistics(make_dataset(), make_config().model)
    assert found.class_names == ("kite", "dog") and found.num_crowds == 1
    assert found.image_sizes.tolist() == [[40, 60], [64, 48], [40, 60], [50, 50]]
    assert found.objects_per_image.tolist() == [2, 1, 1, 0]
    assert found.objects_per_class.tolist() == [2, 2] and found.images_per_class.tolist() == [2, 2]
    assert found.areas.tolist() == [400, 100, 900, 400]
    assert found.size_groups.tolist() == [0, 0, 0, 0]
    # 40 x 60 px becomes 64 x 96, 64 x 48 becomes 85 x 64.
    expected = [20 * 1.6, 10 * 1.6, 30 * np.sqrt(85 / 64 * 64 / 48), 20 * 1.6]
    np.testing.assert_allclose(found.sides, expected)
    assert found.anchor_ious.shape == (4,) and (found.anchor_ious > 0).all() and (found.anchor_ious <= 1).all()


def test_boxes_are_clipped_and_those_without_area_left_out():
    content = tiny_content()
    content["annotations"][0]["bbox"] = [50, 30, 40, 40]  # of 60 x 40 px, 10 x 10 are left
    content["annotations"][1]["bbox"] = [70, 5, 10, 10]
    found = data_statistics(CocoDataset(content, "images"), make_config().model)
    assert found.objects_per_image.tolist() == [1, 1, 1, 0]
    np.testing.assert_allclose(found.sides[0], 10 * 1.6)


def test_chosen_classes_only():
    found = data_statistics(CocoDataset(tiny_content(), "images", ["kite"]), make_config().model)
    assert found.objects_per_class.tolist() == [2] and found.num_crowds == 0


def test_no_objects_and_no_images():
    content = {**tiny_content(), "annotations": []}
    for images in (content["images"], []):
        found = data_statistics(CocoDataset({**content, "images": images}, "images"), make_config().model)
        assert found.objects_per_image.tolist() == [0] * len(images)
        assert found.objects_per_class.tolist() == found.images_per_class.tolist() == [0, 0]
        assert len(found.sides) == len(found.anchor_ious) == 0
