"""Chooses the images of a data set with the best and the worst detections."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.evaluation.matching import match_image


@dataclass(frozen=True)
class PictureScore:
    """Score of the detections in one picture.

    Args:
        image_id: id of the image.
        quality: panoptic quality, 0 to 1.
        detected, missed: numbers of objects.
        wrong: number of detections that match no object.
    """

    image_id: int
    quality: float
    detected: int
    missed: int
    wrong: int


def score_pictures(dataset: CocoDataset, results: Iterable[dict], min_score: float = 0.5) -> list[PictureScore]:
    """Scores each picture by its panoptic quality: how well the masks fit, with a penalty for missed and wrong ones.

    The detections take turns by descending score. Each takes the free object of its class that it overlaps most, at a
    mask IoU of 0.5 or more. The quality is the sum of these IoUs divided by (detected + missed / 2 + wrong / 2).
    Detections within a crowd of their class do not count.

    Args:
        dataset: the data set with the objects.
        results: detections in COCO's format, with masks.
        min_score: detections with lower scores are left out.

    Returns:
        A `PictureScore` for each picture that has objects or detections.

    Reference: Kirillov et al., Panoptic Segmentation, 2019, section 4.1, applied to one picture and all its classes.
    """
    by_image: dict[int, list[dict]] = {image_id: [] for image_id in dataset.image_ids}
    for result in results:
        if result["score"] >= min_score:
            by_image[result["image_id"]].append(result)
    scores = (_score_picture(dataset, image_id, detections) for image_id, detections in by_image.items())
    return [score for score in scores if score.detected + score.missed + score.wrong]


def best_and_worst(scores: list[PictureScore], count: int) -> tuple[list[PictureScore], list[PictureScore]]:
    """Returns the best and the worst pictures, the extremes first.

    Among equally good pictures, those with more detected objects come first; among equally bad ones, those with more
    mistakes.

    Args:
        scores: scores of all pictures.
        count: the largest number of pictures in each list.

    Returns:
        the best and the worst pictures. No picture is in both lists.
    """
    order = sorted(scores, key=_rank)
    worst = order[max(len(order) - count, len(order) - len(order) // 2) :][::-1]
    return order[: min(count, len(order) - len(worst))], worst


def _rank(score: PictureScore) -> tuple:
    """Returns the sort key of a picture; the best picture comes first."""
    return -score.quality, -score.detected, score.missed + score.wrong, score.image_id


def _score_picture(dataset: CocoDataset, image_id: int, results: list[dict]) -> PictureScore:
    """Returns the score of one picture with these detections."""
    everything = dataset.coco.imgToAnns.get(image_id, [])
    annotations = [item for item in everything if item["category_id"] in dataset.category_ids]
    matches = match_image(dataset.coco, results, annotations, "segm", same_class=True)
    matched, missed = int((matches.targets >= 0).sum()), len(matches.missed)
    wrong = len(matches.results) - matched - int(matches.in_crowd.sum())
    parts = matched + (missed + wrong) / 2
    return PictureScore(image_id, float(matches.ious.sum() / parts) if parts else 0.0, matched, missed, wrong)
