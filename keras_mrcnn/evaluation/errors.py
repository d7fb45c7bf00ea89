"""Computes how much AP50 each kind of mistake costs.

The cost of a kind is the gain in AP50 when an oracle corrects that kind and nothing else. The costs of all kinds
therefore do not add up to 1 - AP50.

Shapes: D detections, G ground truths.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from pycocotools.coco import COCO

from keras_mrcnn.evaluation.error_kinds import SortedDetections, sort_detections

# The kinds of the paper, in its order: five of detections, one of ground truths.
KINDS = ("class", "location", "both", "duplicate", "background", "missed")
CORRECTED_KINDS = ("class", "location")  # the oracles correct the best of these and remove the others
RECALLS = np.linspace(0, 1, 101)  # at which COCOeval reads the precision
_NOTHING = np.zeros(0, int)  # no positions


def analyse_errors(
    coco_gt: COCO,
    results: list[dict],
    iou_type: str,
    image_ids: Iterable[int] | None = None,
    category_ids: Iterable[int] | None = None,
) -> dict:
    """Counts the mistakes of each kind and computes how much AP50 each kind costs.

    Args:
        coco_gt, results, iou_type, image_ids, category_ids: as for `evaluate_detections`.

    Returns:
        dict with these keys:
        "AP50": float, the same as in `evaluate_detections`, or None if there are no objects;
        "ground_truths", "detections", "right", "ignored": int, counts; detections that match a crowd are ignored;
        "kinds": dict of each of `KINDS` to {"count": int, "AP50_cost": float, or None if AP50 is None}. Of detections:
        "class" (in the place of an object of another class), "location" (IoU 0.1 to 0.5 with an object of its class),
        "both" (IoU 0.1 to 0.5 with an object of another class), "duplicate" (of an object that a better detection
        matches) and "background" (IoU below 0.1 with every object). Of ground truths: "missed" (neither detected nor
        the target of a detection with the wrong class or location);
        "special": a dict of the same form, of "false_positives" (all wrong detections) and "false_negatives" (all
        objects that are not detected).
        Every detection is either right, ignored or of one of the first five kinds.

    Raises:
        ValueError: as for `evaluate_detections`.

    Example:
        >>> analyse_errors(dataset.coco, results, "segm")["kinds"]["class"]  # doctest: +SKIP
        {'count': 12, 'AP50_cost': 0.031}

    Reference:
        Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors" (2020), sections 2.2 and 2.3.
    """
    detections = sort_detections(coco_gt, results, iou_type, image_ids, category_ids)
    base = _corrected_ap50(detections)

    def entry(count: int, **correction: np.ndarray) -> dict:
        """Returns the count of a kind and how much AP50 rises by its correction."""
        cost = None if base is None else _corrected_ap50(detections, **correction) - base
        return {"count": int(count), "AP50_cost": cost}

    kinds = {}
    for kind in KINDS[:-1]:
        of_kind = detections.kinds == kind
        corrected = best_for_each_object(detections, of_kind) if kind in CORRECTED_KINDS else _NOTHING
        kinds[kind] = entry(of_kind.sum(), removed=of_kind, corrected=corrected)
    kinds["missed"] = entry(detections.gt_missed.sum(), not_counted=detections.gt_missed)
    wrong = np.isin(detections.kinds, KINDS)
    return {
        "AP50": base,
        "ground_truths": len(detections.gt_ids),
        "detections": len(detections.kinds),
        "right": int((detections.kinds == "right").sum()),
        "ignored": int((detections.kinds == "ignored").sum()),
        "kinds": kinds,
        "special": {
            "false_positives": entry(wrong.sum(), removed=wrong),
            "false_negatives": entry((~detections.gt_detected).sum(), not_counted=~detections.gt_detected),
        },
    }


def average_precision(scores: np.ndarray, right: np.ndarray, num_objects: int) -> float:
    """Returns the AP of one class as COCOeval computes it: the mean precision at 101 recalls.

    Args:
        scores: float64 [D].
        right: bool [D], whether each detection matches an object.
        num_objects: number of objects of the class, at least 1.

    Returns:
        float, 0 to 1.

    Example:
        >>> average_precision(np.array([0.9, 0.8]), np.array([False, True]), num_objects=1)
        0.5
    """
    right = right[np.argsort(-scores, kind="stable")]
    recall = np.cumsum(right) / num_objects
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    # At recalls that are never reached the precision is 0.
    return float(np.append(best_from_here, 0.0)[np.searchsorted(recall, RECALLS, side="left")].mean())


def best_for_each_object(detections: SortedDetections, chosen: np.ndarray) -> np.ndarray:
    """Returns the positions of the best chosen detection for each object that is not detected.

    Only these can be corrected. Any other detection would be a duplicate once its class or location were correct.

    Args:
        detections: the result of `sort_detections`.
        chosen: bool [D], detections with the wrong class or location.

    Returns:
        int [C], positions of the C detections to correct.
    """
    rows = np.flatnonzero(chosen)
    rows = rows[~detections.gt_detected[detections.targets[rows]]]
    rows = rows[np.argsort(-detections.scores[rows], kind="stable")]
    _, first = np.unique(detections.targets[rows], return_index=True)
    return rows[first]


def _corrected_ap50(
    detections: SortedDetections,
    removed: np.ndarray = _NOTHING,
    corrected: np.ndarray = _NOTHING,
    not_counted: np.ndarray = _NOTHING,
) -> float | None:
    """Returns the mean AP50 of all classes with objects after the corrections of an oracle, or None without objects.

    Args:
        detections: the result of `sort_detections`.
        removed: positions, or bool [D], of detections to remove.
        corrected: positions of detections that stay and match their targets.
        not_counted: positions, or bool [G], of objects to leave out.
    """
    category_ids = detections.category_ids.copy()
    right, kept = detections.kinds == "right", detections.kinds != "ignored"
    kept[removed] = False
    kept[corrected] = right[corrected] = True
    category_ids[corrected] = detections.gt_category_ids[detections.targets[corrected]]
    remaining = np.delete(detections.gt_category_ids, not_counted)
    scores = []
    for category_id in np.unique(detections.gt_category_ids):
        rows, num_objects = kept & (category_ids == category_id), int((remaining == category_id).sum())
        if num_objects:
            scores.append(average_precision(detections.scores[rows], right[rows], num_objects))
        elif rows.any():
            scores.append(0.0)  # no objects are left, but detections are
    if not len(detections.gt_ids):
        return None
    # A class with neither objects nor detections does not count. If no class counts, nothing is wrong.
    return float(np.mean(scores)) if scores else 1.0
