"""Scores of a region proposal network, before any head is trained.

Two questions are answered: does objectness classify the labelled anchors correctly (point-wise accuracy), and do the
proposals cover the objects, of any class (average recall)?

Shape letters: B images in a batch, N anchors of an image, R proposals, P proposals of one image, G objects.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from pycocotools.coco import COCO

from keras_mrcnn.base.iou import box_iou
from keras_mrcnn.evaluation.coco_metrics import copy_ground_truth, known_ids, mean_score, run_coco_eval

PROPOSAL_COUNTS = (100, 1000)
LOWEST_IOU = 0.5 - 1e-6  # just below the first of COCO's IoU thresholds


class RPNMetrics:
    """Metric that collects anchors and proposals batch by batch and scores them at the end.

    Example:
        >>> metrics = RPNMetrics()
        >>> metrics.update_anchors(np.array([[1, 0, 0, -1]]), np.array([[2.0, -1.0, 0.5, 9.0]]))
        >>> metrics.positive_accuracy, metrics.negative_accuracy
        (1.0, 0.5)

    Reference:
        Ren et al., "Faster R-CNN" (2015), section 3; Hosang et al., "What makes for effective detection
        proposals?" (2015), for average recall.
    """

    def __init__(self) -> None:
        self._positives = self._right_positives = 0
        self._negatives = self._right_negatives = 0
        self._proposals: dict[int, np.ndarray] = {}

    def update_anchors(self, labels: np.ndarray, logits: np.ndarray) -> None:
        """Adds the labelled anchors of a batch to the counts.

        Args:
            labels: int [B, N], 1 positive, 0 negative, -1 ignored.
            logits: float [B, N], objectness before the sigmoid; above 0 means object.

        Raises:
            ValueError: the shapes of labels and logits differ.
        """
        labels, logits = np.asarray(labels), np.asarray(logits)
        if labels.shape != logits.shape:
            raise ValueError(f"labels have shape {list(labels.shape)} but logits {list(logits.shape)}; give one each.")
        positive, negative, says_object = labels == 1, labels == 0, logits > 0
        self._positives += int(positive.sum())
        self._negatives += int(negative.sum())
        self._right_positives += int((positive & says_object).sum())
        self._right_negatives += int((negative & ~says_object).sum())

    def update_proposals(
        self, image_ids: np.ndarray, proposals: np.ndarray, scores: np.ndarray, valid: np.ndarray
    ) -> None:
        """Keeps the best 1000 proposals of each image. A later call for the same image replaces its proposals.

        Args:
            image_ids: int [B].
            proposals: float [B, R, 4], xyxy pixels of the ORIGINAL image, zero-padded.
            scores: float [B, R], logits or probabilities; only their order counts.
            valid: int [B], how many of the R rows are proposals rather than padding.

        Raises:
            ValueError: the shapes do not fit each other.
        """
        image_ids, proposals, scores = np.asarray(image_ids), np.asarray(proposals), np.asarray(scores)
        valid = np.asarray(valid)
        count = len(image_ids)
        fits = proposals.ndim == 3 and proposals.shape[::2] == (count, 4)
        if not fits or scores.shape != proposals.shape[:2] or valid.shape != (count,):
            raise ValueError(
                f"{count} image ids need proposals [{count}, R, 4], scores [{count}, R] and valid [{count}], but the "
                f"shapes are {list(proposals.shape)}, {list(scores.shape)} and {list(valid.shape)}."
            )
        for image_id, boxes, box_scores, number in zip(image_ids.tolist(), proposals, scores, valid.tolist()):
            order = np.argsort(-box_scores[:number], kind="stable")[: max(PROPOSAL_COUNTS)]
            self._proposals[image_id] = boxes[order].astype(np.float32)

    def merge(self, other: RPNMetrics) -> None:
        """Adds the anchors and proposals that another metric has collected on other images.

        Args:
            other: the metric to add; it is not changed.
        """
        self._positives += other._positives
        self._right_positives += other._right_positives
        self._negatives += other._negatives
        self._right_negatives += other._right_negatives
        self._proposals.update(other._proposals)

    @property
    def accuracy(self) -> float | None:
        """Returns the share of the labelled anchors that objectness classifies correctly, or None without any."""
        return _share(self._right_positives + self._right_negatives, self._positives + self._negatives)

    @property
    def positive_accuracy(self) -> float | None:
        """Returns the share of the positive anchors whose objectness is above one half, or None without any."""
        return _share(self._right_positives, self._positives)

    @property
    def negative_accuracy(self) -> float | None:
        """Returns the share of the negative anchors whose objectness is at most one half, or None without any."""
        return _share(self._right_negatives, self._negatives)

    def result(self, coco_gt: COCO, category_ids: Iterable[int] | None = None) -> dict:
        """Returns the scores of all collected anchors and proposals.

        Args:
            coco_gt: the annotations; crowds count neither as objects nor against a proposal.
            category_ids: the categories whose objects count; by default all.

        Returns:
            dict of float, or None if there is nothing to score: accuracy, positive_accuracy, negative_accuracy, AR100
            and AR1000. The last two are the recall of the objects, of any class, by the best 100 or 1000 proposals of
            each image (or as many as the model keeps, `rpn.post_nms_test`), averaged over the IoU thresholds 0.5,
            0.55 ... 0.95. Only images with collected proposals count.

        Raises:
            ValueError: an image with collected proposals is not in the annotations.
        """
        image_ids, category_ids = known_ids(coco_gt, self._proposals, category_ids)
        return {
            "accuracy": self.accuracy,
            "positive_accuracy": self.positive_accuracy,
            "negative_accuracy": self.negative_accuracy,
            **{
                f"AR{count}": self._average_recall(coco_gt, image_ids, category_ids, count) for count in PROPOSAL_COUNTS
            },
        }

    def _average_recall(self, coco_gt: COCO, image_ids: list[int], category_ids: list[int], count: int) -> float | None:
        """Returns COCOeval's recall with `count` proposals per image, for objects of all sizes and any class."""
        ground_truth = copy_ground_truth(coco_gt, image_ids)
        chosen = set(category_ids)
        results = []
        for image_id in image_ids:
            objects = [item for item in ground_truth.imgToAnns[image_id] if item["category_id"] in chosen]
            results += _covering_results(image_id, self._proposals[image_id][:count], objects, category_ids)
        evaluator = run_coco_eval(
            ground_truth, results, "bbox", image_ids, category_ids,
            useCats=0, maxDets=[count], areaRng=[[0, 1e10]], areaRngLbl=["all"],
        )  # fmt: skip
        return mean_score(evaluator.eval["recall"])


def _covering_results(image_id: int, proposals: np.ndarray, objects: list[dict], category_ids: list[int]) -> list[dict]:
    """Returns COCO results for the proposals [P, 4], best first, that can match an object at all.

    COCOeval compares every proposal with every object in Python. A proposal whose IoU with every object is below the
    lowest threshold does not change the recall. Without such proposals the numbers stay the same and COCOeval is
    several times faster.
    """
    boxes_xywh = proposals.astype(np.float64)
    boxes_xywh[:, 2:] -= boxes_xywh[:, :2]
    gt_boxes = np.array([item["bbox"] for item in objects if not item["iscrowd"]], np.float64).reshape(-1, 4)
    gt_boxes[:, 2:] += gt_boxes[:, :2]
    best_ious = box_iou(proposals, gt_boxes).max(axis=1, initial=0)
    return [
        {
            "image_id": image_id,
            "category_id": category_ids[0],  # COCOeval skips unknown categories even if useCats is off
            "bbox": boxes_xywh[rank].tolist(),
            "score": -float(rank),
        }
        for rank in np.flatnonzero(best_ious >= LOWEST_IOU).tolist()
    ]


def _share(part: int, whole: int) -> float | None:
    """Returns part / whole, or None if whole is 0."""
    return part / whole if whole else None
