"""COCO average precision and recall of detections, exactly as pycocotools computes them.

On top of `COCOeval`, this module names the numbers, adds the AP of each class, accepts empty lists of results and
raises clear errors. It prints nothing and leaves the annotations unchanged, although COCOeval itself writes into them.
"""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Iterable

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.coco import complete_index

# In the order of COCOeval.stats, for boxes and masks alike.
SUMMARY_NAMES = (
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
    "AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large",
)  # fmt: skip
# The detections of a class in an image that count in COCO's AP, and the three limits of its summary.
COCO_DETECTIONS, COCO_LIMITS = 100, [1, 10, 100]
RESULT_FIELDS = {"bbox": "bbox", "segm": "segmentation"}


def evaluate_detections(
    coco_gt: COCO,
    results: list[dict],
    iou_type: str,
    image_ids: Iterable[int] | None = None,
    category_ids: Iterable[int] | None = None,
) -> dict:
    """Returns COCO's average precision and recall of detections.

    All results count for AP: a model with COCO's limit of 100 detections gets COCO's AP, and one for more objects in an
    image is not cut short.

    Masks count as small, medium or large by their own area, as in detectron2 and torchvision. The boxes of mask results
    are left out, because pycocotools would otherwise go by the area of the boxes.

    Args:
        coco_gt: the annotations, crowds included. They are not changed.
        results: COCO result dicts, as `Detections.to_coco` returns them. They are not changed and may be empty.
        iou_type: "bbox" or "segm".
        image_ids: the images to score; by default all in the annotations.
        category_ids: the categories to score; by default all in the annotations.

    Returns:
        dict of float or None, all 0 to 1: AP, AP50, AP75, AP_small, AP_medium, AP_large (objects of less than 32**2,
        32**2 to 96**2, and more than 96**2 square pixels), AR1, AR10, AR100, AR_small, AR_medium, AR_large, and
        "per_class", a dict of class name to AP. None means that there are no objects to score.

    Raises:
        ValueError: a result names an unknown image or category, or lacks a field that `iou_type` needs.

    Example:
        >>> evaluate_detections(dataset.coco, results, "bbox")["AP50"]  # doctest: +SKIP
        0.87

    Reference:
        Lin et al., "Microsoft COCO: Common Objects in Context" (2014); pycocotools `COCOeval`.
    """
    check_results(coco_gt, results, iou_type)
    image_ids, category_ids = known_ids(coco_gt, image_ids, category_ids)
    ground_truth = copy_ground_truth(coco_gt, image_ids)
    limits = sorted({*COCO_LIMITS, most_detections(results)})
    evaluator = run_coco_eval(ground_truth, results, iou_type, image_ids, category_ids, summarize=True, maxDets=limits)
    metrics: dict = {name: _score(value) for name, value in zip(SUMMARY_NAMES, evaluator.stats)}
    precision = evaluator.eval["precision"]  # [IoU, recall, class, area, detections]; -1: no object
    metrics.update(_average_precisions(precision[..., -1]))
    metrics["per_class"] = {
        coco_gt.cats[category_id]["name"]: mean_score(precision[:, :, number, 0, -1])
        for number, category_id in enumerate(evaluator.params.catIds)
    }
    return metrics


def known_ids(
    coco_gt: COCO, image_ids: Iterable[int] | None, category_ids: Iterable[int] | None
) -> tuple[list[int], list[int]]:
    """Returns the sorted ids of the images and of the categories to score.

    Args:
        coco_gt: the annotations.
        image_ids: ids of images, or None for all of them.
        category_ids: ids of categories, or None for all of them.

    Raises:
        ValueError: an id is not in the annotations.
    """
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
    """Returns a copy of the annotations of these images, which COCOeval may write into.

    The copies are numbered from 1, because COCOeval takes a match with annotation 0 for no match and mixes up
    annotations with equal ids.
    """
    annotations = [item for image_id in image_ids for item in coco_gt.imgToAnns.get(image_id, [])]
    return _index(coco_gt, image_ids, [{**item, "id": number} for number, item in enumerate(annotations, start=1)])


def most_detections(results: list[dict]) -> int:
    """Returns the largest number of COCO result dicts of one class in one image, but at least COCO's limit of 100."""
    counts = Counter((result["image_id"], result["category_id"]) for result in results)
    return max(COCO_DETECTIONS, *counts.values(), 0)


def ap_params(results: list[dict]) -> dict:
    """Returns the parameters of COCOeval for plain AP: objects of all sizes, and all results."""
    return {"maxDets": [most_detections(results)], "areaRng": [[0, 1e10]], "areaRngLbl": ["all"]}


def _average_precisions(precision: np.ndarray) -> dict[str, float | None]:
    """Returns the six APs of the summary from COCOeval's precision [IoU, recall, class, area]."""
    parts = (precision[..., 0], precision[:1, ..., 0], precision[5:6, ..., 0], *np.moveaxis(precision[..., 1:], -1, 0))
    return {name: mean_score(part) for name, part in zip(SUMMARY_NAMES, parts)}


def run_coco_eval(
    coco_gt: COCO,
    results: list[dict],
    iou_type: str,
    image_ids: list[int],
    category_ids: list[int],
    summarize: bool = False,
    **params: object,
) -> COCOeval:
    """Runs COCOeval without its printed output and returns it.

    The returned evaluator has `eval`.

    Args:
        coco_gt: a copy from `copy_ground_truth`; COCOeval writes into it.
        results: COCO result dicts; those of other images or categories do not count.
        iou_type: "bbox" or "segm".
        image_ids: sorted ids of the images to score.
        category_ids: sorted ids of the categories to score.
        summarize: whether to compute `stats`.
        **params: attributes of `COCOeval.params` to set, such as maxDets.
    """
    field = RESULT_FIELDS[iou_type]
    scored_ids = set(image_ids)
    kept = [
        {key: result[key] for key in ("image_id", "category_id", "score", field)}
        for result in results
        if result["image_id"] in scored_ids
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        # loadRes tells the kind of all results by the first one, so it cannot take an empty list.
        coco_results = coco_gt.loadRes(kept) if kept else _index(coco_gt, image_ids, [])
        evaluator = COCOeval(coco_gt, coco_results, iou_type)
        evaluator.params.imgIds = image_ids
        evaluator.params.catIds = category_ids
        for name, value in params.items():
            setattr(evaluator.params, name, value)
        evaluator.evaluate()
        evaluator.accumulate()
        if summarize:
            evaluator.summarize()
    return evaluator


def check_results(coco_gt: COCO, results: list[dict], iou_type: str) -> None:
    """Checks that the results can be scored against the annotations.

    Raises:
        ValueError: `iou_type` is unknown, an annotation lacks the mask that "segm" needs, or a result lacks a field or
            names an image or a category that is not in the annotations.
    """
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
    """Returns the mean of the entries that COCOeval filled in, or None if there are none; the others are -1."""
    filled = values[values > -1]
    return float(filled.mean()) if filled.size else None


def _score(value: float) -> float | None:
    """Returns a number of the summary, or None where COCOeval has -1, which means that there are no objects."""
    return None if value < 0 else float(value)


def _index(coco_gt: COCO, image_ids: list[int], annotations: list[dict]) -> COCO:
    """Returns a COCO object with these images and annotations and all categories of `coco_gt`."""
    images = [coco_gt.imgs[image_id] for image_id in image_ids]
    categories = list(coco_gt.cats.values())
    return complete_index({"info": {}, "images": images, "categories": categories, "annotations": annotations})
