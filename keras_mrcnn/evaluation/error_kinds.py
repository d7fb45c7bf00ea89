"""The kind of mistake that each detection is, and whether each ground truth is detected or missed.

A detection is right where COCOeval matches it at IoU 0.5, and ignored where COCOeval matches it with a crowd.

Shapes: D detections, G ground truths, crowds not among them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_mrcnn.evaluation.coco_metrics import (
    AP_PARAMS,
    check_results,
    copy_ground_truth,
    known_ids,
    run_coco_eval,
)
from keras_mrcnn.evaluation.matching import pairwise_ious

FOREGROUND_IOU = 0.5  # from here on a detection has the right location
BACKGROUND_IOU = 0.1  # below, it does not belong to the object


@dataclass(frozen=True, eq=False)
class SortedDetections:
    """Every detection with its kind, and whether every ground truth is detected; by class, then by image.

    Detections beyond the best 100 of a class in an image are left out, as they are from COCO's AP.

    Args:
        positions: int [D], position of each in the list of results.
        kinds: str [D]: right, ignored, class, location, both, duplicate or background.
        scores: float64 [D], 0 to 1.
        category_ids: int [D].
        targets: int [D], position of the target in the [G] arrays: the matched object where right, the one with the
            highest IoU where class or location is wrong; -1 for the other kinds.
        gt_ids: int [G], annotation ids.
        gt_category_ids: int [G].
        gt_detected: bool [G], a right detection matches it.
        gt_missed: bool [G], not detected, nor the target of a detection of wrong class or location.
    """

    positions: np.ndarray
    kinds: np.ndarray
    scores: np.ndarray
    category_ids: np.ndarray
    targets: np.ndarray
    gt_ids: np.ndarray
    gt_category_ids: np.ndarray
    gt_detected: np.ndarray
    gt_missed: np.ndarray


class _Matches(NamedTuple):
    """The matches of COCOeval at its only IoU: by class, then by image, the best detection first."""

    results: list[dict]  # D
    objects: list[dict]  # G
    targets: np.ndarray  # int [D], position of the object that is matched, or -1
    ignored: np.ndarray  # bool [D], matches a crowd


class _Overlaps(NamedTuple):
    """The object of the same class, and of the others, that each detection overlaps most; int and float64 [D].

    Without any such object the IoU is 0, and the position means nothing.
    """

    same_iou: np.ndarray
    same_target: np.ndarray
    other_iou: np.ndarray
    other_target: np.ndarray


def sort_detections(
    coco_gt: COCO,
    results: list[dict],
    iou_type: str,
    image_ids: Iterable[int] | None = None,
    category_ids: Iterable[int] | None = None,
) -> SortedDetections:
    """Returns the kind of every detection, and which ground truths are detected or missed.

    A detection that fits several kinds is of the first of these: right, ignored, location (IoU 0.1 to 0.5 with an
    object of its class, and with none a higher one), class (IoU 0.5 or more with an object of another class), duplicate
    (IoU 0.5 or more with an object that a better detection has matched), both (IoU 0.1 to 0.5 with an object of another
    class), background.

    Args:
        coco_gt, results, iou_type, image_ids, category_ids: as for `evaluate_detections`; not changed.

    Raises:
        ValueError: as for `evaluate_detections`.

    Reference:
        Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors" (2020), section 2.2; the order
        is that of the authors' program.
    """
    check_results(coco_gt, results, iou_type)
    image_ids, category_ids = known_ids(coco_gt, image_ids, category_ids)
    ground_truth = copy_ground_truth(coco_gt, image_ids)
    params = {**AP_PARAMS, "iouThrs": np.array([FOREGROUND_IOU])}
    evaluator = run_coco_eval(ground_truth, results, iou_type, image_ids, category_ids, **params)
    matches = _read_matches(evaluator)
    kinds, targets = _kinds_and_targets(matches, _overlaps(ground_truth, matches, iou_type))
    # The evaluator has copies of results and annotations, numbered from 1 in the order of these two lists.
    wanted = set(image_ids)
    positions = [position for position, result in enumerate(results) if result["image_id"] in wanted]
    gt_ids = [item["id"] for image_id in image_ids for item in coco_gt.imgToAnns.get(image_id, [])]
    everything = np.arange(len(matches.objects))
    return SortedDetections(
        positions=_ints(positions[item["id"] - 1] for item in matches.results),
        kinds=kinds,
        scores=np.array([item["score"] for item in matches.results], np.float64),
        category_ids=_ints(item["category_id"] for item in matches.results),
        targets=targets,
        gt_ids=_ints(gt_ids[item["id"] - 1] for item in matches.objects),
        gt_category_ids=_ints(item["category_id"] for item in matches.objects),
        gt_detected=np.isin(everything, targets[kinds == "right"]),
        gt_missed=~np.isin(everything, targets),
    )


def _read_matches(evaluator: COCOeval) -> _Matches:
    """Reads the matches off a COCOeval that has evaluated one IoU and one range of areas."""
    matches = [match for match in evaluator.evalImgs if match is not None]  # None: the image has nothing of the class
    objects = [
        evaluator.cocoGt.anns[number]
        for match in matches
        for number, is_crowd in zip(match["gtIds"], match["gtIgnore"])
        if not is_crowd
    ]
    positions = {item["id"]: position for position, item in enumerate(objects)}
    return _Matches(
        results=[evaluator.cocoDt.anns[number] for match in matches for number in match["dtIds"]],
        objects=objects,
        targets=_ints(positions.get(int(number), -1) for match in matches for number in match["dtMatches"][0]),
        ignored=np.array([flag for match in matches for flag in match["dtIgnore"][0]], bool),
    )


def _overlaps(coco_gt: COCO, matches: _Matches, iou_type: str) -> _Overlaps:
    """Compares the detections of each image with all its objects, whatever their classes."""
    same_iou, other_iou = np.zeros((2, len(matches.results)))
    same_target, other_target = np.zeros((2, len(matches.results)), int)
    rows, columns = _by_image(matches.results), _by_image(matches.objects)
    for image_id in rows.keys() & columns.keys():
        row, column = rows[image_id], columns[image_id]
        results, objects = [matches.results[i] for i in row], [matches.objects[i] for i in column]
        ious = pairwise_ious(coco_gt, results, objects, iou_type)
        classes = _ints(item["category_id"] for item in objects)
        is_same = _ints(item["category_id"] for item in results)[:, None] == classes
        same, other = np.where(is_same, ious, 0.0), np.where(is_same, 0.0, ious)
        same_iou[row], same_target[row] = same.max(axis=1), column[same.argmax(axis=1)]
        other_iou[row], other_target[row] = other.max(axis=1), column[other.argmax(axis=1)]
    return _Overlaps(same_iou, same_target, other_iou, other_target)


def _kinds_and_targets(matches: _Matches, overlaps: _Overlaps) -> tuple[np.ndarray, np.ndarray]:
    """Returns the kind of every detection, str [D], and its target, int [D]."""
    same_iou, same_target, other_iou, other_target = overlaps
    cases = {
        "right": matches.targets >= 0,
        "ignored": matches.ignored,
        "location": (same_iou >= BACKGROUND_IOU) & (same_iou < FOREGROUND_IOU),
        "class": other_iou >= FOREGROUND_IOU,
        # COCOeval would have matched these, had no better detection come first.
        "duplicate": same_iou >= FOREGROUND_IOU,
        "both": other_iou >= BACKGROUND_IOU,
    }
    kinds = np.select(list(cases.values()), [np.array(name) for name in cases], np.array("background"))
    targets = {"right": matches.targets, "location": same_target, "class": other_target}
    return kinds, np.select([kinds == name for name in targets], list(targets.values()), -1)


def _by_image(items: list[dict]) -> dict[int, np.ndarray]:
    """Returns, for each image id, the positions of its items."""
    positions: dict[int, list[int]] = {}
    for position, item in enumerate(items):
        positions.setdefault(item["image_id"], []).append(position)
    return {image_id: _ints(of_image) for image_id, of_image in positions.items()}


def _ints(values: Iterable[int]) -> np.ndarray:
    return np.array(list(values), int)
