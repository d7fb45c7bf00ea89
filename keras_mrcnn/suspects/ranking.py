"""Ranks what is probably wrong in annotations by how much detections disagree with them.

The detections should come from a model that was not trained on the same images, as in cross-validation. A model that
was trained on an error has learnt to repeat it, and disagrees less.

The kinds are those of ObjectLab, but with a score for each object instead of each image, and one more: annotations that
nothing supports. A class is doubted as in confident learning: the other class must be probable, and its own improbable.

Reference:
    Tkachenko, Thyagarajan and Mueller, "ObjectLab: Automated Diagnosis of Mislabeled Images in Object Detection Data"
    (2023), arXiv:2309.00832; Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset
    Labels" (2021), section 3.

Shape letters: D detections, G annotated objects, of one image.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from pycocotools.coco import COCO

from keras_mrcnn.base.iou import match_pairs
from keras_mrcnn.evaluation.coco_metrics import check_results, known_ids
from keras_mrcnn.evaluation.matching import pairwise_ious

KINDS = ("missing", "class", "mask", "spurious")
SAME_OBJECT_IOU = 0.5  # from this IoU on, a detection and an annotation mean the same object
NEARBY_IOU = 0.1  # from this IoU on, a detection of the right class can mean a badly drawn object
LEAST_SCORE = 0.1


@dataclass(frozen=True)
class Suspect:
    """An annotation that is probably wrong, or an object that is probably missing.

    Args:
        kind: one of `KINDS`: "missing" (a detection without an annotation), "class" (the detection is of another
            class), "mask" (the detection is of the same class, but its mask or box differs) or "spurious" (there is
            nothing like the annotation among the detections).
        score: 0 to 1, how sure it is.
        image_id: id of the image.
        annotation: the annotation; None for "missing".
        detection: the COCO result that contradicts it; None for "spurious".
    """

    kind: str
    score: float
    image_id: int
    annotation: dict | None
    detection: dict | None


def rank_suspects(
    coco_gt: COCO,
    results: list[dict],
    image_ids: Iterable[int] | None = None,
    category_ids: Iterable[int] | None = None,
    min_score: float = LEAST_SCORE,
) -> dict[str, list[Suspect]]:
    """Ranks the annotations, and the objects without one, that detections contradict.

    The location is compared by boxes and, where both have masks, by the mean IoU of boxes and masks. Each annotation
    takes at most one detection of its own class, that with the highest score times IoU; what it takes is no missing
    object. Detections that crowd regions of their class cover say nothing.

    - "missing": score * (1 - overlap), where the overlap is the highest IoU with any annotation, or the share of the
      detection that an annotation of its class covers if that is more. Of several detections in one place, only the
      best counts.
    - "class": score * (1 - score of the best detection of the annotated class), at an IoU of 0.5 or more.
    - "mask": score * (1 - IoU), where the IoU is the lower one of boxes and masks.
    - "spurious": 1 - the highest product of score and IoU of any detection.

    Args:
        coco_gt: the annotations, crowds included, as `CocoDataset.coco`.
        results: COCO results of all these images, with all detections down to a low score.
        image_ids: the images to examine; by default all in the annotations.
        category_ids: the categories that detections can have; by default all in the annotations. Annotations of others
            are never suspects, and detections in their places are no missing objects.
        min_score: suspects with lower scores are left out.

    Returns:
        dict of each of `KINDS` to its suspects, the most suspicious first.

    Raises:
        ValueError: a result names an unknown image or category, or lacks a field.

    Example:
        >>> rank_suspects(dataset.coco, results)["missing"][0].score  # doctest: +SKIP
        0.97
    """
    check_results(coco_gt, results, "bbox")
    image_ids, category_ids = known_ids(coco_gt, image_ids, category_ids)
    by_image = defaultdict(list)
    for result in results:
        by_image[result["image_id"]].append(result)
    ranked: dict[str, list[Suspect]] = {kind: [] for kind in KINDS}
    for image_id in image_ids:
        for suspect in _Image(coco_gt, image_id, by_image[image_id]).suspects():
            is_known = suspect.annotation is None or suspect.annotation["category_id"] in category_ids
            if is_known and suspect.score >= min_score:
                ranked[suspect.kind].append(suspect)
    return {kind: sorted(suspects, key=lambda suspect: -suspect.score) for kind, suspects in ranked.items()}


class _Image:
    """The detections and annotations of one image, and how they overlap."""

    def __init__(self, coco_gt: COCO, image_id: int, results: list[dict]) -> None:
        annotations = coco_gt.imgToAnns.get(image_id, [])
        self.image_id = image_id
        self.results = sorted(results, key=lambda result: -result["score"])
        self.objects = [item for item in annotations if not item["iscrowd"]]
        self.scores = np.array([result["score"] for result in self.results], float)
        self.is_same = _class_ids(self.results)[:, None] == _class_ids(self.objects)
        ious = _ious(coco_gt, self.results, self.objects)
        self.ious, self.lowest_ious = np.mean(ious, axis=0), np.min(ious, axis=0)  # [D, G]
        # Of crowds, pycocotools gives the share of the detection that they cover.
        shares = np.min(_ious(coco_gt, self.results, [{**item, "iscrowd": 1} for item in annotations]), axis=0)
        is_same = _class_ids(self.results)[:, None] == _class_ids(annotations)
        self.covered = np.where(is_same, shares, 0.0).max(axis=1, initial=0.0)
        self.alike = np.min(_ious(coco_gt, self.results, [{**result, "iscrowd": 0} for result in self.results]), axis=0)
        own = np.where(self.is_same & (self.ious >= NEARBY_IOU), self.scores[:, None] * self.ious, 0.0)
        self.own = match_pairs(own, np.finfo(float).tiny)

    def suspects(self) -> Iterator[Suspect]:
        """Gives the suspects of each kind, with scores down to 0."""
        yield from self._missing()
        yield from self._wrong_class()
        yield from self._bad_mask()
        yield from self._spurious()

    def _missing(self) -> Iterator[Suspect]:
        taken = {row for row, _ in self.own}
        overlap = np.maximum(self.ious.max(axis=1, initial=0.0), self.covered)
        scores = self.scores * (1.0 - overlap)
        kept: list[int] = []
        for row in np.argsort(-scores, kind="stable").tolist():
            is_new = (self.alike[row, kept] < SAME_OBJECT_IOU).all()
            if row not in taken and overlap[row] < SAME_OBJECT_IOU and is_new:
                kept.append(row)
                yield Suspect("missing", float(scores[row]), self.image_id, None, self.results[row])

    def _wrong_class(self) -> Iterator[Suspect]:
        in_place = self.ious >= SAME_OBJECT_IOU
        own = np.where(in_place & self.is_same, self.scores[:, None], 0.0).max(axis=0, initial=0.0)
        margin = np.where(in_place & ~self.is_same, self.scores[:, None] * (1.0 - own), 0.0)
        margin[[row for row, column in self.own if self.ious[row, column] >= SAME_OBJECT_IOU]] = 0.0
        for row, column in match_pairs(margin, np.finfo(float).tiny):
            yield self._suspect("class", margin[row, column], row, column)

    def _bad_mask(self) -> Iterator[Suspect]:
        for row, column in self.own:
            yield self._suspect("mask", self.scores[row] * (1.0 - self.lowest_ious[row, column]), row, column)

    def _spurious(self) -> Iterator[Suspect]:
        support = (self.scores[:, None] * self.ious).max(axis=0, initial=0.0)
        for annotation, score in zip(self.objects, (1.0 - support).tolist()):
            yield Suspect("spurious", score, self.image_id, annotation, None)

    def _suspect(self, kind: str, score: float, row: int, column: int) -> Suspect:
        return Suspect(kind, float(score), self.image_id, self.objects[column], self.results[row])


def _ious(coco_gt: COCO, results: list[dict], annotations: list[dict]) -> np.ndarray:
    """Returns the IoUs of boxes and masks, [2, D, G]; without masks on both sides, twice those of boxes."""
    boxes = pairwise_ious(coco_gt, results, annotations, "bbox")
    if not all(item.get("segmentation") for item in (*results, *annotations)):
        return np.stack([boxes, boxes])
    return np.stack([boxes, pairwise_ious(coco_gt, results, annotations, "segm")])


def _class_ids(items: list[dict]) -> np.ndarray:
    return np.array([item["category_id"] for item in items], int)
