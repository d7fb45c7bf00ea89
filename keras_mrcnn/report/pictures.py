"""Which pictures of a data set went best and worst."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.evaluation.coco_metrics import pairwise_ious

MATCH_IOU = 0.5


@dataclass(frozen=True)
class PictureScore:
    """How well the objects of one picture were found.

    Args:
        image_id: of the picture.
        quality: 0 to 1.
        found, missed: objects.
        wrong: detections that find no object.
    """

    image_id: int
    quality: float
    found: int
    missed: int
    wrong: int


def score_pictures(dataset: CocoDataset, results: Iterable[dict], min_score: float = 0.5) -> list[PictureScore]:
    """Scores each picture by its panoptic quality: how well the masks fit, less what is missed or wrong.

    Detections, best score first, each take the free object of their class that they overlap most, at mask IoU 0.5 or
    more. The quality is the sum of these IoUs over (found + missed / 2 + wrong / 2). Detections within a crowd of their
    class are not counted.

    Args:
        dataset: the objects.
        results: detections in COCO's format, with masks.
        min_score: detections below this are left out.

    Returns:
        a `PictureScore` for each picture in which there is or was found something.

    Reference: Kirillov et al., Panoptic Segmentation, 2019, section 4.1, here of one picture and all its classes.
    """
    by_image: dict[int, list[dict]] = {image_id: [] for image_id in dataset.image_ids}
    for result in results:
        if result["score"] >= min_score:
            by_image[result["image_id"]].append(result)
    scores = (_score_picture(dataset, image_id, found) for image_id, found in by_image.items())
    return [score for score in scores if score.found + score.missed + score.wrong]


def best_and_worst(scores: list[PictureScore], count: int) -> tuple[list[PictureScore], list[PictureScore]]:
    """Returns the `count` best and the `count` worst pictures, the most telling first; none is in both.

    Of pictures that went equally well those come first in which more was found, or more went wrong.
    """
    order = sorted(scores, key=lambda score: (-score.quality, -score.found, score.missed + score.wrong, score.image_id))
    worst = order[max(len(order) - count, len(order) - len(order) // 2) :][::-1]
    return order[: min(count, len(order) - len(worst))], worst


def _score_picture(dataset: CocoDataset, image_id: int, found: list[dict]) -> PictureScore:
    everything = dataset.coco.imgToAnns.get(image_id, [])
    annotations = [item for item in everything if item["category_id"] in dataset.category_ids]
    free = [place for place, item in enumerate(annotations) if not item["iscrowd"]]
    crowds = [place for place, item in enumerate(annotations) if item["iscrowd"]]
    found = sorted(found, key=lambda result: -result["score"])
    ious = pairwise_ious(dataset.coco, found, annotations, "segm")
    same = [item["category_id"] == result["category_id"] for result in found for item in annotations]
    fitting = np.where(np.reshape(np.array(same, bool), ious.shape) & (ious >= MATCH_IOU), ious, 0.0)
    matched, wrong = [], 0
    for overlaps in fitting:
        best = max(free, key=overlaps.__getitem__, default=None)
        if best is not None and overlaps[best]:
            free.remove(best)
            matched.append(float(overlaps[best]))
        elif not overlaps[crowds].any():
            wrong += 1
    parts = len(matched) + (len(free) + wrong) / 2
    return PictureScore(image_id, sum(matched) / parts if parts else 0.0, len(matched), len(free), wrong)
