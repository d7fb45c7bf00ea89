"""Tests of keras_mrcnn.evaluation.curves."""

import copy

import numpy as np
import pytest
from coco_cases import CAR, DOG, make_coco, make_result, one_of_each, random_case

from keras_mrcnn.evaluation import evaluate_detections
from keras_mrcnn.evaluation.curves import confusion_matrix, precision_recall_curves

IOU_TYPES = pytest.mark.parametrize("iou_type", ["bbox", "segm"])
HERE, THERE = (10, 10, 40, 40), (100, 100, 40, 40)


def results_of(*arguments):
    return [make_result(*result) for result in arguments]


def counts(annotations, results, iou_type="bbox", **options):
    """Confusions of car, dog and background: the unicorn, of which there is none, is left out."""
    matrix = confusion_matrix(make_coco(annotations), results, iou_type, category_ids=[CAR, DOG], **options)
    assert matrix.class_names == ("car", "dog", "background")
    return matrix.counts.tolist()


# Precision and recall


@IOU_TYPES
def test_curves_by_hand(iou_type):
    # Two cars: one found exactly, then nothing, then one at IoU 2/3.
    coco = make_coco([(5, CAR, HERE, 0), (5, CAR, THERE, 0), (5, DOG, HERE, 0)])
    found = [(5, CAR, HERE, 0.9), (5, CAR, (150, 10, 40, 40), 0.8), (5, CAR, (100, 108, 40, 40), 0.7)]
    curves = precision_recall_curves(coco, results_of(*found), iou_type)
    assert curves.class_names == ("car", "dog", "unicorn")
    np.testing.assert_allclose(curves.recall, np.linspace(0, 1, 101))
    np.testing.assert_allclose(curves.precision50[0], [1] * 51 + [2 / 3] * 50)
    np.testing.assert_allclose(curves.precision75[0], [1] * 51 + [0] * 50)
    # Four of the ten IoUs, 0.5 to 0.65, let the second match.
    np.testing.assert_allclose(curves.precision[0], [1] * 51 + [4 / 10 * 2 / 3] * 50)
    for precision in (curves.precision50, curves.precision75, curves.precision):
        assert precision.shape == (3, 101) and precision.dtype == np.float64
        assert (precision[1] == 0).all() and np.isnan(precision[2]).all()


@IOU_TYPES
def test_means_of_curves_are_average_precisions(iou_type):
    annotations, results = random_case(1)
    coco = make_coco(annotations)
    metrics = evaluate_detections(coco, results, iou_type, image_ids=[5, 9])
    curves = precision_recall_curves(coco, results, iou_type, image_ids=[5, 9])
    assert np.nanmean(curves.precision50) == pytest.approx(metrics["AP50"])
    assert np.nanmean(curves.precision75) == pytest.approx(metrics["AP75"])
    means = dict(zip(curves.class_names, curves.precision.mean(axis=1).tolist()))
    assert means == pytest.approx({**metrics["per_class"], "unicorn": np.nan}, nan_ok=True)


def test_no_results_and_no_objects():
    curves = precision_recall_curves(make_coco([(5, CAR, HERE, 0)]), [], "segm")
    assert (curves.precision50[0] == 0).all()
    curves = precision_recall_curves(make_coco([]), results_of((5, CAR, HERE, 0.9)), "bbox", category_ids=[CAR])
    assert curves.class_names == ("car",) and np.isnan(curves.precision).all()


# Confusions


@IOU_TYPES
def test_confusions_by_hand(iou_type):
    annotations, results = one_of_each()
    results = results_of(*results.values())
    # The car at score 0.5 counts, those at 0.4 (nothing there) and 0.3 (right) do not.
    assert counts(annotations, results, iou_type) == [[1, 0, 3], [1, 0, 1], [3, 0, 0]]
    assert counts(annotations, results, iou_type, score_threshold=0.3) == [[2, 0, 2], [1, 0, 1], [4, 0, 0]]
    assert counts(annotations, [], iou_type) == [[0, 0, 4], [0, 0, 2], [0, 0, 0]]
    assert counts([], results, iou_type) == [[0, 0, 0], [0, 0, 0], [5, 0, 0]]
    assert confusion_matrix(make_coco(annotations), results, iou_type).score_threshold == 0.5


def test_best_score_takes_the_object_whatever_its_class():
    results = results_of((5, CAR, HERE, 0.8), (5, DOG, HERE, 0.9))
    assert counts([(5, CAR, HERE, 0)], results) == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]


def test_best_overlap_first_and_then_the_same_class():
    two = [(5, DOG, HERE, 0), (5, CAR, (10, 14, 40, 40), 0)]
    assert counts(two, results_of((5, CAR, HERE, 0.9))) == [[0, 0, 1], [1, 0, 0], [0, 0, 0]]
    same_place = [(5, DOG, HERE, 0), (5, CAR, HERE, 0)]
    for annotations in (same_place, same_place[::-1]):
        assert counts(annotations, results_of((5, CAR, HERE, 0.9))) == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_detections_in_a_crowd_of_their_class_are_not_counted():
    crowd = [(5, CAR, (0, 0, 100, 100), 1)]
    results = results_of((5, CAR, HERE, 0.9), (5, DOG, HERE, 0.9), (5, CAR, THERE, 0.9), (6, CAR, HERE, 0.9))
    assert counts(crowd, results) == [[0, 0, 0], [0, 0, 0], [2, 1, 0]]


@IOU_TYPES
@pytest.mark.parametrize("seed", range(2))
def test_rows_are_the_objects_and_columns_the_detections(iou_type, seed):
    annotations, results = random_case(seed, crowds=False)
    matrix = confusion_matrix(make_coco(annotations), results, iou_type, image_ids=[5, 6], score_threshold=0.25)
    objects = [category for image, category, _, _ in annotations if image != 9]
    found = [result["category_id"] for result in results if result["image_id"] != 9 and result["score"] >= 0.25]
    assert matrix.counts[:-1].sum(axis=1).tolist() == [objects.count(category) for category in (3, 7, 90)]
    assert matrix.counts[:, :-1].sum(axis=0).tolist() == [found.count(category) for category in (3, 7, 90)]
    assert matrix.counts[-1, -1] == 0 and matrix.counts.dtype == int
    assert matrix.counts[:-1, :-1].trace() > 0


def test_inputs_are_left_as_they_were_and_bad_ones_named():
    annotations, results = random_case(2)
    coco = make_coco(annotations)
    before = copy.deepcopy((coco.dataset, results))
    for function in (precision_recall_curves, confusion_matrix):
        function(coco, results, "segm")
        assert (coco.dataset, results) == before
        with pytest.raises(ValueError, match="iou_type is 'mask', expected 'bbox' or 'segm'"):
            function(coco, results, "mask")
        with pytest.raises(ValueError, match="Image id 8 in image_ids is not in the annotations"):
            function(coco, results, "bbox", image_ids=[8])
