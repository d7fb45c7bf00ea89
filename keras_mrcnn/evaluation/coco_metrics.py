"""COCO average precision and recall of detections, exactly as pycocotools computes them.

Around `COCOeval` this adds names for its numbers, the AP of each class, empty lists of results and clear errors. It
prints nothing, and it leaves the annotations as they were, which COCOeval rewrites.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.coco import complete_index

# The order of COCOeval.stats for boxes and masks.
SUMMARY_NAMES = (
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
    "AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large",
)  # fmt: skip
RESULT_FIELDS = {"bbox": "bbox", "segm": "segmentation"}
# Of COCO's plain AP: objects of all sizes, the best 100 detections of each class in each image.
AP_PARAMS = {"maxDets": [100], "areaRng": [[0, 1e10]], "areaRngLbl": ["all"]}


def evaluate_detections(
    coco_gt: COCO,
    results: list[dict],
    iou_type: str,
    image_ids: Iterable[int] | None = None,
    category_ids: Iterable[int] | None = None,
) -> dict:
    """Scores COCO results against COCO annotations.

    Masks count as small, medium or large by their own area, as in detectron2 and torchvision: the boxes of mask results
    are left out, since pycocotools would take the area of those.

    Args:
        coco_gt: the annotations, crowds included; not changed.
        results: COCO result dicts as `Detections.to_coco` makes them; not changed. May be empty.
        iou_type: "bbox" or "segm".
        image_ids: score these images only; by default all in the annotations.
        category_ids: score these categories only; by default all in the annotations.

    Returns:
        dict of float or None, all 0 to 1: AP, AP50, AP75, AP_small, AP_medium, AP_large (objects below
        32**2, up to 96**2, above, px), AR1, AR10, AR100, AR_small, AR_medium, AR_large, and "per_class", a
        dict of class name to AP. None means that there is no such object.

    Raises:
        ValueError: a result names an unknown image or category, or lacks what `iou_type` needs.

    Example:
        >>> evaluate_detections(dataset.coco, results, "bbox")["AP50"]  # doctest: +SKIP
        0.87

    Reference:
        Lin et al., "Microsoft COCO: Common Objects in Context" (2014); pycocotools `COCOeval`.
    """
    check_results(coco_gt, results, iou_type)
    image_ids, category_ids = known_ids(coco_gt, image_ids, category_ids)
    evaluator = run_coco_eval(copy_ground_truth(coco_gt, image_ids), results, iou_type, image_ids, category_ids)
    metrics: dict = {name: _score(value) for name, value in zip(SUMMARY_NAMES, evaluator.stats)}
    precision = evaluator.eval["precision"]  # [IoU, recall, class, area, detections]; -1: no object
    metrics["per_class"] = {
        coco_gt.cats[category_id]["name"]: mean_score(precision[:, :, number, 0, -1])
        for number, category_id in enumerate(evaluator.params.catIds)
    }
    return metrics


def known_ids(
    coco_gt: COCO, image_ids: Iterable[int] | None, category_ids: Iterable[int] | None
) -> tuple[list[int], list[int]]:
    """Returns both lists sorted, filled with all ids where None, or raises ValueError for an unknown id."""
    images = sorted({int(value) for value in (coco_gt.imgs if image_ids is None else image_ids)})
    categories = sorted({int(value) for value in (coco_gt.cats if category_ids is None else category_ids)})
    for value in images:
        if value not in coco_gt.imgs:
            raise UserError(f"Image id {value} in image_ids is not in the annotations; leave it out.")
    for value in categories:
        if value not in coco_gt.cats:
            raise UserError(f"Category id {value} in category_ids is not in the annotations; leave it out.")
    return images, categories


def copy_ground_truth(coco_gt: COCO, image_ids: list[int]) -> COCO:
    """Returns the annotations of these images as a COCO object of its own, for COCOeval to write into.

    Ids are given anew from 1, because COCOeval takes a match with annotation 0 for no match, and mixes up equal ids.
    """
    annotations = [item for image_id in image_ids for item in coco_gt.imgToAnns.get(image_id, [])]
    return _index(coco_gt, image_ids, [{**item, "id": number} for number, item in enumerate(annotations, start=1)])


def run_coco_eval(
    coco_gt: COCO, results: list[dict], iou_type: str, image_ids: list[int], category_ids: list[int], **params: object
) -> COCOeval:
    """Runs COCOeval without its prints and returns it with `eval` and, under the usual parameters, `stats`.

    Args:
        coco_gt: from `copy_ground_truth`; COCOeval writes into it.
        results: COCO result dicts; those of other images or categories are not counted.
        iou_type: "bbox" or "segm".
        image_ids: sorted ids of the images to score.
        category_ids: sorted ids of the categories to score.
        **params: attributes of `COCOeval.params` to set, such as maxDets; with any of them, nothing is summarised.
    """
    field = RESULT_FIELDS[iou_type]
    wanted = set(image_ids)
    kept = [
        {key: result[key] for key in ("image_id", "category_id", "score", field)}
        for result in results
        if result["image_id"] in wanted
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        # loadRes asks the first result what kind it is, so it cannot take an empty list.
        coco_results = coco_gt.loadRes(kept) if kept else _index(coco_gt, image_ids, [])
        evaluator = COCOeval(coco_gt, coco_results, iou_type)
        evaluator.params.imgIds = image_ids
        evaluator.params.catIds = category_ids
        for name, value in params.items():
            setattr(evaluator.params, name, value)
        evaluator.evaluate()
        evaluator.accumulate()
        if not params:
            evaluator.summarize()
    return evaluator


def check_results(coco_gt: COCO, results: list[dict], iou_type: str) -> None:
    """Raises ValueError for an unknown `iou_type`, annotations without masks to score, or the first bad result."""
    if iou_type not in RESULT_FIELDS:
        raise UserError(f"iou_type is {iou_type!r}, expected 'bbox' or 'segm'.")
    for annotation in coco_gt.anns.values() if iou_type == "segm" else ():
        if not annotation.get("segmentation"):
            raise UserError(f"Annotation {annotation['id']} has no segmentation, which scoring by 'segm' needs.")
    needed = ("image_id", "category_id", "score", RESULT_FIELDS[iou_type])
    for number, result in enumerate(results):
        for key in needed:
            if key not in result:
                raise UserError(f"Result {number} has no {key!r}, which scoring by {iou_type!r} needs.")
        if result["image_id"] not in coco_gt.imgs:
            raise UserError(
                f"Result {number} is for image id {result['image_id']}, which is not in the annotations; "
                "score against the file that these images belong to."
            )
        if result["category_id"] not in coco_gt.cats:
            raise UserError(
                f"Result {number} has category id {result['category_id']}, which is not in the annotations; "
                "score against the file whose classes the model was trained on."
            )


def mean_score(values: np.ndarray) -> float | None:
    """Returns the mean of the entries that COCOeval filled (it leaves -1 elsewhere), or None without any."""
    filled = values[values > -1]
    return float(filled.mean()) if filled.size else None


def _score(value: float) -> float | None:
    """Returns a summarised number, or None where COCOeval has -1, which means no object."""
    return None if value < 0 else float(value)


def _index(coco_gt: COCO, image_ids: list[int], annotations: list[dict]) -> COCO:
    """Returns a COCO object with the categories of `coco_gt`, these images and these annotations."""
    images = [coco_gt.imgs[image_id] for image_id in image_ids]
    categories = list(coco_gt.cats.values())
    return complete_index({"info": {}, "images": images, "categories": categories, "annotations": annotations})
