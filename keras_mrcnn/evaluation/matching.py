"""Matches the detections of an image with its objects, by COCO's IoU of boxes or masks and its rule for crowds.

Shape letters: D detections, G annotations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from keras_mrcnn.base.iou import match_pairs
from keras_mrcnn.evaluation.coco_metrics import RESULT_FIELDS

MATCH_IOU = 0.5
TIE = 1e-9  # IoUs that differ by less count as equal


class ImageMatches(NamedTuple):
    """The matches of the detections of one image.

    Args:
        results: D COCO result dicts, by descending score.
        targets: int [D], position of the matched object in the annotations, or -1.
        ious: float64 [D], IoU with the matched object, or 0 without one.
        in_crowd: bool [D], whether the detection matches no object, but a crowd of its class.
        missed: int [M], positions of the objects that no detection matches.
    """

    results: list[dict]
    targets: np.ndarray
    ious: np.ndarray
    in_crowd: np.ndarray
    missed: np.ndarray


def match_image(
    coco_gt: COCO, results: list[dict], annotations: list[dict], iou_type: str, same_class: bool
) -> ImageMatches:
    """Matches the detections of one image with its objects at IoU 0.5.

    The detections take turns by descending score. Each takes the free object that it overlaps most, and among objects
    with equal IoU one of its own class.

    Args:
        coco_gt: the COCO object of the annotations, which knows the sizes of the images.
        results: D COCO result dicts of one image, in any order.
        annotations: G annotations of the same image, crowds included.
        iou_type: "bbox" or "segm".
        same_class: whether a detection matches objects of its own class only.
    """
    results = sorted(results, key=lambda result: -result["score"])
    ious = pairwise_ious(coco_gt, results, annotations, iou_type)
    is_same = _class_ids(results)[:, None] == _class_ids(annotations)
    is_crowd = np.array([item["iscrowd"] for item in annotations], bool)
    overlaps = ious >= MATCH_IOU
    allowed = overlaps & ~is_crowd & (is_same | (not same_class))
    pairs = match_pairs(np.where(allowed, ious + TIE * is_same, 0.0), MATCH_IOU, rows_in_order=True)
    rows, columns = np.array(pairs, int).reshape(-1, 2).T
    targets, matched_ious = np.full(len(results), -1), np.zeros(len(results))
    targets[rows], matched_ious[rows] = columns, ious[rows, columns]
    in_crowd = (targets < 0) & (overlaps & is_same & is_crowd).any(axis=1)
    missed = np.setdiff1d(np.flatnonzero(~is_crowd), columns)
    return ImageMatches(results, targets, matched_ious, in_crowd, missed)


def pairwise_ious(coco_gt: COCO, results: list[dict], annotations: list[dict], iou_type: str) -> np.ndarray:
    """Returns the IoU of every result with every annotation of one image, of any class.

    These are exactly the numbers that COCOeval compares.

    Args:
        coco_gt: the COCO object of the annotations, which knows the sizes of the images.
        results: D COCO result dicts of one image.
        annotations: G annotations of the same image. With a crowd, the IoU is replaced by the share of the result that
            the crowd covers, as in COCOeval.
        iou_type: "bbox" or "segm".

    Returns:
        float64 [D, G], 0 to 1.
    """
    if not results or not annotations:
        return np.zeros((len(results), len(annotations)))
    detected = [result[RESULT_FIELDS[iou_type]] for result in results]
    annotated = [item["bbox"] if iou_type == "bbox" else coco_gt.annToRLE(item) for item in annotations]
    return coco_mask.iou(detected, annotated, [int(item["iscrowd"]) for item in annotations])


def _class_ids(items: list[dict]) -> np.ndarray:
    """Returns the category ids of results or annotations, int [N]."""
    return np.array([item["category_id"] for item in items], int)
