"""The ranking of suspects, by hand: each kind, crowds, unknown classes and nothing at all."""

from __future__ import annotations

import pytest
from conftest import square

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.coco import index_annotations
from keras_mrcnn.suspects import KINDS, rank_suspects

DOG, CAT = 1, 2
# The IoU of the first two is 1/3; the third is far away.
HERE, BESIDE, THERE = [0, 0, 20, 20], [10, 0, 20, 20], [60, 60, 20, 20]


def ground_truth(*annotations):
    """Annotations of an image of 100 x 100 as (category, box) or (category, box, further fields)."""
    items = [
        {"id": number, "image_id": 7, "category_id": category_id, "bbox": box, "iscrowd": 0, **dict(*more)}
        for number, (category_id, box, *more) in enumerate(annotations, start=1)
    ]
    categories = [{"id": DOG, "name": "dog"}, {"id": CAT, "name": "cat"}]
    images = [{"id": 7, "file_name": "a.png", "height": 100, "width": 100}]
    return index_annotations({"images": images, "annotations": items, "categories": categories})


def detected(category_id, box, score, **more):
    return {"image_id": 7, "category_id": category_id, "bbox": box, "score": score, **more}


def summary(ranking, *kinds):
    """(annotation id, category and score of the detection, score) of each suspect of the kinds."""
    return [
        (
            suspect.annotation and suspect.annotation["id"],
            suspect.detection and (suspect.detection["category_id"], suspect.detection["score"]),
            round(suspect.score, 4),
        )
        for kind in kinds
        for suspect in ranking[kind]
    ]


def test_missing_object():
    truth = ground_truth((DOG, HERE))
    right = detected(DOG, HERE, 0.9)
    ranking = rank_suspects(truth, [right, detected(CAT, THERE, 0.8), detected(DOG, THERE, 0.7)])
    assert summary(ranking, *KINDS) == [(None, (CAT, 0.8), 0.8)]  # once, although two classes are detected there
    # One that overlaps a neighbour is less sure, and one in the same place as an annotation is a duplicate.
    ranking = rank_suspects(truth, [right, detected(CAT, BESIDE, 0.6), detected(DOG, [1, 0, 20, 20], 0.5)])
    assert summary(ranking, "missing") == [(None, (CAT, 0.6), 0.4)]


def test_part_of_an_object_is_not_missing():
    truth = ground_truth((DOG, [0, 0, 40, 40]))
    parts = [detected(DOG, HERE, 0.9), detected(CAT, HERE, 0.8)]
    ranking = rank_suspects(truth, [detected(DOG, [0, 0, 40, 40], 0.95), *parts])
    # A quarter of the dog is no other dog, but may be a cat before it: 0.8 * (1 - 1/4).
    assert summary(ranking, "missing") == [(None, (CAT, 0.8), 0.6)]


def test_wrong_class():
    truth = ground_truth((DOG, HERE), (DOG, THERE))
    results = [detected(CAT, HERE, 0.8), detected(DOG, HERE, 0.15)]
    results += [detected(DOG, THERE, 0.9), detected(CAT, THERE, 0.2)]
    ranking = rank_suspects(truth, results, min_score=0.0)
    # 0.8 * (1 - 0.15) and 0.2 * (1 - 0.9)
    assert summary(ranking, "missing", "class") == [(1, (CAT, 0.8), 0.68), (2, (CAT, 0.2), 0.02)]
    assert summary(rank_suspects(truth, results), "class") == [(1, (CAT, 0.8), 0.68)]


def test_detection_that_belongs_to_a_neighbour_doubts_no_class():
    behind = [4, 0, 20, 20]  # IoU 2/3
    truth = ground_truth((DOG, HERE), (CAT, behind))
    ranking = rank_suspects(truth, [detected(DOG, HERE, 0.3), detected(CAT, behind, 0.9)])
    assert summary(ranking, "missing", "class", "mask") == []


def test_bad_box():
    ranking = rank_suspects(ground_truth((DOG, HERE)), [detected(DOG, BESIDE, 0.9)])
    assert summary(ranking, *KINDS) == [(1, (DOG, 0.9), 0.6), (1, None, 0.7)]  # 0.9 * (1 - 1/3) and 1 - 0.9 / 3


def test_bad_mask():
    truth = ground_truth((DOG, HERE, {"segmentation": [[0, 0, 10, 0, 10, 20, 0, 20]]}))  # half of the box
    box = truth.annToRLE({"image_id": 7, "segmentation": square(0, 0, 20)})
    ranking = rank_suspects(truth, [detected(DOG, HERE, 0.9, segmentation=box)])
    assert summary(ranking, *KINDS) == [(1, (DOG, 0.9), 0.45), (1, None, 0.325)]  # the mean IoU is 0.75
    assert summary(rank_suspects(truth, [detected(DOG, HERE, 0.7)]), *KINDS) == [(1, None, 0.3)]  # boxes alone


def test_spurious():
    truth = ground_truth((DOG, HERE), (CAT, THERE))
    assert summary(rank_suspects(truth, [detected(DOG, HERE, 0.6)]), *KINDS) == [(2, None, 1.0), (1, None, 0.4)]


def test_crowds_are_no_suspects_and_cover_detections_of_their_class():
    code = {"size": [100, 100], "counts": [0, 5000, 5000]}  # the left half
    truth = ground_truth((DOG, [0, 0, 50, 100], {"iscrowd": 1, "segmentation": code}))
    assert summary(rank_suspects(truth, [detected(DOG, HERE, 0.9)]), *KINDS) == []
    assert summary(rank_suspects(truth, [detected(CAT, HERE, 0.9)]), *KINDS) == [(None, (CAT, 0.9), 0.9)]


def test_classes_that_the_model_does_not_know_are_not_judged():
    truth = ground_truth((CAT, HERE))
    ranking = rank_suspects(truth, [detected(DOG, HERE, 0.9)], category_ids=[DOG])
    assert summary(ranking, *KINDS) == []


def test_nothing():
    empty = {kind: [] for kind in KINDS}
    assert rank_suspects(ground_truth(), []) == empty
    assert rank_suspects(ground_truth((DOG, HERE)), [], image_ids=[]) == empty
    assert summary(rank_suspects(ground_truth((DOG, HERE)), []), *KINDS) == [(1, None, 1.0)]
    assert summary(rank_suspects(ground_truth(), [detected(DOG, HERE, 0.3)]), *KINDS) == [(None, (DOG, 0.3), 0.3)]


def test_results_of_other_images_are_refused():
    with pytest.raises(UserError, match="image id 8, which is not in the annotations"):
        rank_suspects(ground_truth(), [{**detected(DOG, HERE, 0.3), "image_id": 8}])
