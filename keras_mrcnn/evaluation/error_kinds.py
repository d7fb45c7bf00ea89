"""Sorts detections by their kind of mistake, and ground truths into detected and missed.

A detection is right if COCOeval matches it with an object at IoU 0.5, and ignored if COCOeval matches it with a crowd.

Shapes: D detections, G ground truths without the crowds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_mrcnn.evaluation.coco_metrics import (
    ap_params,
    check_results,
    copy_ground_truth,
    known_ids,
    run_coco_eval,
)
from keras_mrcnn.evaluation.matching import pairwise_ious

FOREGROUND_IOU = 0.5  # from this IoU on, a detection has the right location
BACKGROUND_IOU = 0.1  # below this IoU, a detection does not belong to the object


@dataclass(frozen=True, eq=False)
class SortedDetections:
    """All detections with their kinds, and all ground truths, detected or missed; sorted by class, then by image.

    All results are included, as in `evaluate_detections`.

    Args:
        positions: int [D], the position of each detection in the list of results.
        kinds: str [D], one of right, ignored, class, location, both, duplicate or background.
        scores: float64 [D], 0 to 1.
        category_ids: int [D].
        targets: int [D], the position of each detection's target in the [G] arrays: the matched object of a right
            detection, the object with the highest IoU if the class or location is wrong, and -1 for the other kinds.
        gt_ids: int [G], annotation ids.
        gt_category_ids: int [G].
        gt_detected: bool [G], whether a right detection matches the object.
        gt_missed: bool [G], whether the object is neither detected nor the target of a detection with the wrong class
            or location.
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
    """The matches of a COCOeval with a single IoU, sorted by class, by image, and by descending score."""

    results: list[dict]  # D
    objects: list[dict]  # G
    targets: np.ndarray  # int [D], position of the matched object, or -1
    ignored: np.ndarray  # bool [D], whether the detection matches a crowd


class _Overlaps(NamedTuple):
    """The objects of the same class and of the other classes that each detection overlaps most; int and float64 [D].

    If there is no such object, the IoU is 0 and the position has no meaning.
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

    If a detection fits several kinds, the first of these counts: right, ignored, location (its highest IoU with an
    object of its class is 0.1 to 0.5), class (IoU 0.5 or more with an object of another class), duplicate (IoU 0.5 or
    more with an object of its class that a better detection has matched), both (IoU 0.1 to 0.5 with an object of
    another class), background.

    Args:
        coco_gt, results, iou_type, image_ids, category_ids: as for `evaluate_detections`.

    Raises:
        ValueError: as for `evaluate_detections`.

    Reference:
        Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors" (2020), section 2.2, in the
        order of the authors' program.
    """
    check_results(coco_gt, results, iou_type)
    image_ids, category_ids = known_ids(coco_gt, image_ids, category_ids)
    ground_truth = copy_ground_truth(coco_gt, image_ids)
    params = {**ap_params(results), "iouThrs": np.array([FOREGROUND_IOU])}
    evaluator = run_coco_eval(ground_truth, results, iou_type, image_ids, category_ids, **params)
    matches = _read_matches(evaluator)
    kinds, targets = _kinds_and_targets(matches, _overlaps(ground_truth, matches, iou_type))
    # The evaluator holds copies of the results and annotations, numbered from 1 in the order of these two lists.
    scored_ids = set(image_ids)
    positions = [position for position, result in enumerate(results) if result["image_id"] in scored_ids]
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
    """Returns the matches of a COCOeval that has evaluated one IoU and one range of areas."""
    matches = [match for match in evaluator.evalImgs if match is not None]  # None: nothing of the class in the image
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
    """Compares the detections of each image with all objects in it, of any class."""
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
        # COCOeval would have matched these if no better detection had come first.
        "duplicate": same_iou >= FOREGROUND_IOU,
        "both": other_iou >= BACKGROUND_IOU,
    }
    kinds = np.select(list(cases.values()), [np.array(name) for name in cases], np.array("background"))
    targets = {"right": matches.targets, "location": same_target, "class": other_target}
    return kinds, np.select([kinds == name for name in targets], list(targets.values()), -1)


def _by_image(items: list[dict]) -> dict[int, np.ndarray]:
    """Returns the positions of the items of each image, by image id."""
    positions: dict[int, list[int]] = {}
    for position, item in enumerate(items):
        positions.setdefault(item["image_id"], []).append(position)
    return {image_id: _ints(of_image) for image_id, of_image in positions.items()}


def _ints(values: Iterable[int]) -> np.ndarray:
    """Returns the values as an int array."""
    return np.array(list(values), int)
