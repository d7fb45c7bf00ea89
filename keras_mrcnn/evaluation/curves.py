"""Precision-recall curves of each class, and the confusion matrix.

Shapes: K classes, in the order of their category ids.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from pycocotools.coco import COCO

from keras_mrcnn.evaluation.coco_metrics import (
    ap_params,
    check_results,
    copy_ground_truth,
    known_ids,
    run_coco_eval,
)
from keras_mrcnn.evaluation.matching import match_image

BACKGROUND = "background"


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """The precision of each class at each recall.

    The precision of a class without objects is NaN throughout.

    Args:
        class_names: names of the K classes.
        recall: float64 [101], 0 to 1.
        precision50: float64 [K, 101], the precision at IoU 0.5; 0 beyond the highest recall that is reached. The mean
            of a row is the AP50 of the class.
        precision75: float64 [K, 101], the same at IoU 0.75.
        precision: float64 [K, 101], the mean over IoU 0.5, 0.55 ... 0.95. The mean of a row is the AP of the class.
    """

    class_names: tuple[str, ...]
    recall: np.ndarray
    precision50: np.ndarray
    precision75: np.ndarray
    precision: np.ndarray


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """How often objects of one class are detected as another.

    Args:
        class_names: K + 1 names, "background" last.
        counts: int [K + 1, K + 1]. Rows are the classes of the objects, columns those of the detections. The last
            column counts the missed objects, the last row the detections that match no object.
        score_threshold: detections with lower scores are not counted.
    """

    class_names: tuple[str, ...]
    counts: np.ndarray
    score_threshold: float


def precision_recall_curves(
    coco_gt: COCO,
    results: list[dict],
    iou_type: str,
    image_ids: Iterable[int] | None = None,
    category_ids: Iterable[int] | None = None,
) -> PrecisionRecall:
    """Returns the precision of every class at the 101 recalls of COCOeval, for objects of all sizes.

    Args:
        coco_gt, results, iou_type, image_ids, category_ids: as for `evaluate_detections`.

    Raises:
        ValueError: as for `evaluate_detections`.

    Example:
        >>> curves = precision_recall_curves(dataset.coco, results, "segm")  # doctest: +SKIP
        >>> plt.plot(curves.recall, curves.precision50[0])  # doctest: +SKIP
    """
    check_results(coco_gt, results, iou_type)
    image_ids, category_ids = known_ids(coco_gt, image_ids, category_ids)
    ground_truth = copy_ground_truth(coco_gt, image_ids)
    evaluator = run_coco_eval(ground_truth, results, iou_type, image_ids, category_ids, **ap_params(results))
    # [IoU, recall, class, area, detections] -> [IoU, class, recall]; a class without objects has -1.
    precision = evaluator.eval["precision"][:, :, :, 0, 0].transpose(0, 2, 1)
    precision = np.where(precision < 0, np.nan, precision)
    ious = evaluator.params.iouThrs
    return PrecisionRecall(
        class_names=_class_names(coco_gt, category_ids),
        recall=evaluator.params.recThrs,
        precision50=precision[np.argmin(abs(ious - 0.5))],
        precision75=precision[np.argmin(abs(ious - 0.75))],
        precision=precision.mean(axis=0),
    )


def confusion_matrix(
    coco_gt: COCO,
    results: list[dict],
    iou_type: str,
    image_ids: Iterable[int] | None = None,
    category_ids: Iterable[int] | None = None,
    score_threshold: float = 0.5,
) -> ConfusionMatrix:
    """Counts how often objects of one class are detected as another, missed, or detected where there are none.

    In each image, the detections take turns by descending score. Each takes the free object that it overlaps most, of
    any class, at an IoU of 0.5 or more. A detection that matches no object but lies in a crowd of its class does not
    count.

    Args:
        coco_gt, results, iou_type, image_ids, category_ids: as for `evaluate_detections`.
        score_threshold: lowest score of the detections that count, 0 to 1.

    Raises:
        ValueError: as for `evaluate_detections`.

    Example:
        >>> matrix = confusion_matrix(dataset.coco, results, "bbox")  # doctest: +SKIP
        >>> cats_taken_for_dogs = matrix.counts[matrix.class_names.index("cat"), matrix.class_names.index("dog")]
        ... # doctest: +SKIP
    """
    check_results(coco_gt, results, iou_type)
    image_ids, category_ids = known_ids(coco_gt, image_ids, category_ids)
    ground_truth = copy_ground_truth(coco_gt, image_ids)
    labels = {category_id: label for label, category_id in enumerate(category_ids)}
    background = len(labels)
    detections: dict[int, list[dict]] = {image_id: [] for image_id in image_ids}
    for result in results:
        if result["image_id"] in detections and result["category_id"] in labels and result["score"] >= score_threshold:
            detections[result["image_id"]].append(result)
    counts = np.zeros((background + 1, background + 1), int)
    for image_id in image_ids:
        objects = [item for item in ground_truth.imgToAnns[image_id] if item["category_id"] in labels]
        matches = match_image(ground_truth, detections[image_id], objects, iou_type, same_class=False)
        rows = [labels[item["category_id"]] for item in objects] + [background]  # target -1 is the background
        for result, target, in_crowd in zip(matches.results, matches.targets, matches.in_crowd):
            if not in_crowd:
                counts[rows[target], labels[result["category_id"]]] += 1
        for target in matches.missed:
            counts[rows[target], background] += 1
    return ConfusionMatrix((*_class_names(coco_gt, category_ids), BACKGROUND), counts, float(score_threshold))


def _class_names(coco_gt: COCO, category_ids: list[int]) -> tuple[str, ...]:
    """Returns the names of these categories."""
    return tuple(coco_gt.cats[category_id]["name"] for category_id in category_ids)
