"""Tests of keras_mrcnn.evaluation.errors."""

import copy

import numpy as np
import pytest
from coco_cases import CAR, DOG, UNICORN, make_coco, make_result, one_of_each, random_case
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mrcnn.evaluation import evaluate_detections
from keras_mrcnn.evaluation.error_kinds import sort_detections
from keras_mrcnn.evaluation.errors import KINDS, analyse_errors, average_precision, best_for_each_object

IOU_TYPES = pytest.mark.parametrize("iou_type", ["bbox", "segm"])
HERE, THERE = (10, 10, 40, 40), (100, 100, 40, 40)
NEAR = (10, 30, 40, 40)  # IoU 1/3 with HERE


def analyse(annotations, results, iou_type="bbox", **options):
    return analyse_errors(make_coco(annotations), [make_result(*result) for result in results], iou_type, **options)


def counts(analysis):
    return {kind: entry["count"] for kind, entry in analysis["kinds"].items()}


def costs(analysis):
    return {kind: entry["AP50_cost"] for kind, entry in {**analysis["kinds"], **analysis["special"]}.items()}


def test_detections_beyond_the_hundredth_of_a_class_count():
    results = [(5, CAR, THERE, 0.5 + number / 1000) for number in range(100)]
    analysis = analyse([(5, CAR, HERE, 0)], [*results, (5, CAR, HERE, 0.1), (5, DOG, HERE, 0.1)])
    assert (analysis["detections"], analysis["right"]) == (102, 1)
    assert counts(analysis) == {
        "class": 1, "location": 0, "both": 0, "duplicate": 0, "background": 100, "missed": 0,
    }  # fmt: skip


@IOU_TYPES
def test_costs_by_hand(iou_type):
    annotations, results = one_of_each()
    analysis = analyse(annotations, results.values(), iou_type)
    # Four cars; right are the first and the last of seven guesses: precision 1 up to recall 1/4 (26 of 101 recalls),
    # 2/7 up to recall 1/2 (25 more). Two dogs, not found: 0. So the mean of both classes, in 202nds, is
    base = 26 + 25 * 2 / 7
    assert analysis["AP50"] == pytest.approx(base / 202)
    assert (analysis["ground_truths"], analysis["detections"]) == (6, 7)
    assert (analysis["right"], analysis["ignored"]) == (2, 0)
    assert counts(analysis) == {"class": 1, "location": 1, "both": 1, "duplicate": 1, "background": 1, "missed": 2}
    assert {name: entry["count"] for name, entry in analysis["special"].items()} == {
        "false_positives": 5, "false_negatives": 4,
    }  # fmt: skip
    one_less = 26 + 25 * 2 / 6
    expected = {
        "class": one_less + 51,  # one of two dogs is found
        "location": 26 + 25 * 2 / 3 + 25 * 3 / 7,
        "both": one_less,
        "duplicate": one_less,
        "background": one_less,
        "missed": 34 + 33 * 2 / 7,  # three cars, one dog
        "false_positives": 51,
        "false_negatives": 2 * (51 + 50 * 2 / 7),  # two cars, and dogs no more, so cars alone count
    }
    assert costs(analysis) == pytest.approx({name: (score - base) / 202 for name, score in expected.items()})


def test_wrong_class_of_an_object_that_is_found_goes_away():
    annotations = [(5, CAR, HERE, 0), (5, DOG, THERE, 0)]
    analysis = analyse(annotations, [(5, CAR, HERE, 0.9), (5, DOG, HERE, 0.8), (5, DOG, THERE, 0.7)])
    assert analysis["AP50"] == pytest.approx((1 + 1 / 2) / 2)
    assert counts(analysis)["class"] == 1
    assert costs(analysis)["class"] == pytest.approx(1 / 4)


def test_of_two_wrong_locations_the_better_is_corrected():
    annotations = [(5, CAR, HERE, 0), (5, CAR, THERE, 0)]
    analysis = analyse(annotations, [(5, CAR, NEAR, 0.8), (5, CAR, NEAR, 0.9), (5, CAR, THERE, 0.7)])
    assert analysis["AP50"] == pytest.approx(51 / 3 / 101)
    assert counts(analysis)["location"] == 2
    assert costs(analysis)["location"] == pytest.approx(1 - 17 / 101)


def test_each_kind_is_mended_alone():
    # A car that a dog (wrong class) and a car (wrong location) are meant for; each oracle finds it.
    annotations = [(5, CAR, HERE, 0), (5, DOG, THERE, 0)]
    analysis = analyse(annotations, [(5, DOG, HERE, 0.9), (5, CAR, NEAR, 0.8), (5, DOG, THERE, 0.7)])
    assert analysis["AP50"] == pytest.approx((0 + 1 / 2) / 2)
    assert costs(analysis)["class"] == pytest.approx(3 / 4)
    assert costs(analysis)["location"] == pytest.approx(1 / 2)
    assert analysis["kinds"]["missed"] == {"count": 0, "AP50_cost": 0.0}


@IOU_TYPES
def test_perfect_detections_have_no_mistakes(iou_type):
    annotations, _ = random_case(crowds=False)
    analysis = analyse(annotations, [(image, category, box, 0.5) for image, category, box, _ in annotations], iou_type)
    assert analysis["AP50"] == pytest.approx(1.0)
    assert analysis["right"] == analysis["detections"] == analysis["ground_truths"] == 24
    for entry in (*analysis["kinds"].values(), *analysis["special"].values()):
        assert entry == {"count": 0, "AP50_cost": 0.0}


@IOU_TYPES
def test_no_detections_only_miss(iou_type):
    analysis = analyse([(5, CAR, HERE, 0), (6, DOG, HERE, 0), (6, DOG, THERE, 1)], [], iou_type)
    assert (analysis["AP50"], analysis["ground_truths"], analysis["detections"]) == (0.0, 2, 0)
    assert counts(analysis) == {**dict.fromkeys(KINDS, 0), "missed": 2}
    # Once nothing is left to find, nothing is wrong.
    assert {name for name, cost in costs(analysis).items() if cost} == {"missed", "false_negatives"}
    assert costs(analysis)["missed"] == costs(analysis)["false_negatives"] == 1.0


@IOU_TYPES
@pytest.mark.parametrize("annotations", [[], [(5, DOG, HERE, 1)]])
def test_nothing_to_find_has_counts_but_no_costs(annotations, iou_type):
    analysis = analyse(annotations, [(5, CAR, HERE, 0.9), (5, DOG, HERE, 0.9)], iou_type)
    assert analysis["AP50"] is None and set(costs(analysis).values()) == {None}
    assert (analysis["detections"], analysis["ignored"]) == (2, len(annotations))
    assert counts(analysis)["background"] == analysis["special"]["false_positives"]["count"] == 2 - len(annotations)
    assert analyse(annotations, [], iou_type)["detections"] == 0


def test_a_class_with_nothing_left_but_false_positives_scores_zero():
    # The dog is missed and another imagined: without the missed one, dogs still count, as 0.
    analysis = analyse([(5, CAR, HERE, 0), (5, DOG, THERE, 0)], [(5, CAR, HERE, 0.9), (6, DOG, HERE, 0.8)])
    assert costs(analysis)["missed"] == 0.0
    # Without the imagined one they count no more.
    analysis = analyse([(5, CAR, HERE, 0), (5, DOG, THERE, 0)], [(5, CAR, HERE, 0.9)])
    assert costs(analysis)["missed"] == pytest.approx(1 / 2)


def mended(coco, results, found, kind):
    """The annotations and results that an oracle leaves, as COCO objects: the long way round."""
    annotations, results = copy.deepcopy(coco.dataset["annotations"]), copy.deepcopy(results)
    keep = np.isin(found.kinds, ("right", "ignored")) if kind == "false_positives" else found.kinds != kind
    if kind in ("class", "location"):
        corrected = best_for_each_object(found, found.kinds == kind)
        keep[corrected] = True
        by_id = {item["id"]: item for item in annotations}
        for position, gt_id in zip(found.positions[corrected], found.gt_ids[found.targets[corrected]]):
            fields = ("category_id",) if kind == "class" else ("bbox", "segmentation")
            results[position].update({field: by_id[gt_id][field] for field in fields})
    absent = {"missed": found.gt_missed, "false_negatives": ~found.gt_detected}
    absent = set(found.gt_ids[absent[kind]].tolist()) if kind in absent else set()
    rest = [item for item in annotations if item["id"] not in absent]
    places = [(item["image_id"], item["category_id"], item["bbox"], item["iscrowd"]) for item in rest]
    return make_coco(places), [results[position] for position in found.positions[keep]]


@IOU_TYPES
@pytest.mark.parametrize("seed", range(3))
def test_costs_are_what_coco_says_of_mended_results(iou_type, seed):
    annotations, results = random_case(seed)
    coco = make_coco(annotations)
    analysis, found = analyse_errors(coco, results, iou_type), sort_detections(coco, results, iou_type)
    base = evaluate_detections(coco, results, iou_type)["AP50"]
    assert analysis["AP50"] == pytest.approx(base, abs=1e-6)
    assert sum(count > 0 for count in counts(analysis).values()) >= 5  # the case has mistakes of nearly all kinds
    for kind, cost in costs(analysis).items():
        after = evaluate_detections(*mended(coco, results, found, kind), iou_type)["AP50"]
        assert cost == pytest.approx(after - base, abs=1e-6), kind


def test_average_precision_by_hand():
    none = np.zeros(0)
    assert average_precision(none, none.astype(bool), 3) == 0.0
    assert average_precision(np.array([0.1, 0.9]), np.array([True, False]), 1) == 0.5
    # Equal scores keep their order.
    assert average_precision(np.array([0.5, 0.5]), np.array([True, False]), 1) == 1.0


boxes = st.tuples(*[st.sampled_from([10, 20, 40, 60])] * 2, *[st.sampled_from([20, 30, 40, 80])] * 2)
places = st.tuples(st.sampled_from([5, 6]), st.sampled_from([CAR, DOG, UNICORN]), boxes)
objects = st.tuples(places, st.sampled_from([0, 0, 0, 1]))
guesses = st.tuples(places, st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.5, 0.9]))


@given(st.lists(objects, max_size=5), st.lists(guesses, max_size=8), st.sampled_from(["bbox", "segm"]))
@settings(max_examples=60, deadline=None)
def test_nothing_is_lost_or_counted_twice(objects, guesses, iou_type):
    coco = make_coco([(*place, crowd) for place, crowd in objects])
    results = [make_result(*place, score) for place, score in guesses]
    analysis, found = analyse_errors(coco, results, iou_type), sort_detections(coco, results, iou_type)
    count = counts(analysis)
    of_detections = sum(count[kind] for kind in KINDS if kind != "missed")
    assert sorted(found.positions.tolist()) == list(range(len(results)))
    assert len(results) == analysis["detections"] == analysis["right"] + analysis["ignored"] + of_detections
    assert analysis["special"]["false_positives"]["count"] == of_detections
    assert analysis["ground_truths"] == sum(not crowd for _, crowd in objects)
    assert analysis["ground_truths"] == analysis["right"] + analysis["special"]["false_negatives"]["count"]
    assert count["missed"] <= analysis["special"]["false_negatives"]["count"]
    base = evaluate_detections(coco, results, iou_type)["AP50"]
    assert analysis["AP50"] == (None if base is None else pytest.approx(base, abs=1e-6))
    for name, cost in costs(analysis).items():
        if base is None:
            assert cost is None
        else:
            assert -1e-9 <= cost <= 1 - base + 1e-6, name
    for kind in KINDS:
        assert base is None or count[kind] or costs(analysis)[kind] == 0.0


# Arguments


def test_chosen_images_and_categories_are_as_if_alone():
    annotations, results = random_case(4)
    coco = make_coco(annotations)
    alone = make_coco([item for item in annotations if item[:2] == (6, DOG)])
    dogs = [result for result in results if (result["image_id"], result["category_id"]) == (6, DOG)]
    options = {"image_ids": [6], "category_ids": [DOG]}
    assert analyse_errors(coco, results, "bbox", **options) == analyse_errors(alone, dogs, "bbox", category_ids=[DOG])
    found = sort_detections(coco, results, "bbox", **options)
    assert {(results[i]["image_id"], results[i]["category_id"]) for i in found.positions} == {(6, DOG)}
    assert {(coco.anns[i]["image_id"], coco.anns[i]["category_id"]) for i in found.gt_ids} == {(6, DOG)}
    assert [results[i]["score"] for i in found.positions] == found.scores.tolist()


def test_inputs_are_left_as_they_were(capsys):
    annotations, results = random_case(5)
    coco = make_coco(annotations)
    before = copy.deepcopy((coco.dataset, results))
    analyse_errors(coco, results, "segm")
    assert (coco.dataset, results) == before
    assert capsys.readouterr().out == ""


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="iou_type is 'mask', expected 'bbox' or 'segm'"):
        analyse([], [], "mask")
    with pytest.raises(ValueError, match="Result 0 is for image id 77, which is not in the annotations"):
        analyse([], [(77, CAR, HERE, 0.5)])
    with pytest.raises(ValueError, match="Category id 2 in category_ids is not in the annotations"):
        analyse([], [], category_ids=[2])
