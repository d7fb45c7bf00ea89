"""Tests of keras_mrcnn.evaluation.error_kinds; its sums and arguments are tested with keras_mrcnn.evaluation.errors."""

import pytest
from coco_cases import CAR, DOG, make_coco, make_result, one_of_each

from keras_mrcnn.evaluation.error_kinds import sort_detections

HERE = (10, 10, 40, 40)
NEAR = (10, 30, 40, 40)  # IoU 1/3 with HERE


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_one_of_each_kind_is_recognised(iou_type):
    annotations, results = one_of_each()
    found = sort_detections(make_coco(annotations), [make_result(*result) for result in results.values()], iou_type)
    names = [list(results)[position].partition(",")[0] for position in found.positions]
    assert found.kinds.tolist() == names
    assert found.scores.tolist() == [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]
    assert found.category_ids.tolist() == [CAR] * 7
    # By class: the annotations 11, 12, 15 and 16 are cars, 13 and 14 dogs.
    assert found.gt_ids.tolist() == [11, 12, 15, 16, 13, 14]
    assert found.gt_category_ids.tolist() == [CAR] * 4 + [DOG] * 2
    assert found.targets.tolist() == [0, -1, 1, 4, -1, -1, 2]
    assert found.gt_detected.tolist() == [True, False, True, False, False, False]
    assert found.gt_missed.tolist() == [False, False, False, True, False, True]


@pytest.mark.parametrize(
    ("annotations", "kind"),
    [
        ([(5, CAR, NEAR, 0), (5, DOG, HERE, 0)], "location"),  # before class
        ([(5, DOG, HERE, 0), (5, DOG, NEAR, 0)], "class"),  # before both
        ([(5, CAR, (10, 10, 40, 80), 0)], "right"),  # IoU 1/2
        ([(5, CAR, (10, 10, 40, 81), 0)], "location"),
        ([(5, DOG, (10, 10, 40, 80), 0)], "class"),
        ([(5, DOG, (10, 10, 40, 81), 0)], "both"),
        ([(5, CAR, (0, 0, 100, 160), 0)], "location"),  # IoU 1/10
        ([(5, CAR, (0, 0, 100, 161), 0)], "background"),
        ([(5, DOG, (0, 0, 100, 161), 0)], "background"),
        ([(6, CAR, HERE, 0)], "background"),  # in another image
        ([(5, CAR, (0, 0, 100, 100), 1)], "ignored"),
        ([(5, CAR, (0, 0, 100, 100), 1), (5, CAR, HERE, 0)], "right"),
        ([(5, CAR, (0, 0, 100, 100), 1), (5, CAR, NEAR, 0)], "ignored"),
        ([(5, DOG, (0, 0, 100, 100), 1)], "background"),  # a crowd of another class is nothing
        ([], "background"),
    ],
)
def test_kind_of_one_car(annotations, kind):
    found = sort_detections(make_coco(annotations), [make_result(5, CAR, HERE, 0.5)], "bbox")
    assert found.kinds.tolist() == [kind]


def test_duplicate_over_an_object_of_another_class_is_of_wrong_class():
    annotations = [(5, CAR, HERE, 0), (5, DOG, HERE, 0)]
    found = sort_detections(make_coco(annotations), [make_result(5, CAR, HERE, score) for score in (0.8, 0.9)], "bbox")
    assert dict(zip(found.positions.tolist(), found.kinds.tolist())) == {1: "right", 0: "class"}
