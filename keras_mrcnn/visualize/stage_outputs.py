"""Outputs of every stage of the model for one image, as plain arrays in pixels of the original image.

`keras_mrcnn.inspection.inspect_stages` makes these records, and the `show_` functions draw them.

Shape letters: H W the height and width of the image, h w those of a feature map, A anchors per cell, P boxes, S sampled
RoIs, R proposals, K classes, M mask side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_mrcnn.base.records import Detections, GroundTruth


@dataclass(frozen=True, eq=False, repr=False)
class AnchorLevel:
    """Anchors, labels and objectness of one level of the RPN.

    Args:
        name: "P2" to "P6", or "C4".
        stride: float (y, x), distance between cells in pixels; cell (i, j) is centred on (i * y, j * x).
        boxes: float32 [h, w, A, 4], the anchors in xyxy pixels; they may reach outside the image.
        labels: int32 [h, w, A], 1 positive, 0 negative, -1 ignored; None without ground truth.
        objectness: float32 [h, w, A], probability of an object according to the RPN.
    """

    name: str
    stride: tuple[float, float]
    boxes: np.ndarray
    labels: np.ndarray | None
    objectness: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class ScoredBoxes:
    """Boxes with scores, sorted best first.

    Args:
        boxes: float32 [P, 4], xyxy pixels, inside the image.
        scores: float32 [P], 0 to 1.
    """

    boxes: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        """Returns the number of boxes."""
        return len(self.boxes)


@dataclass(frozen=True, eq=False, repr=False)
class SampledRoIs:
    """Proposals and ground truths as sampled for training the box head, positives first.

    Args:
        boxes: float32 [S, 4], xyxy pixels.
        labels: int32 [S], 1..K, 0 for background.
        target_boxes: float32 [S, 4], xyxy pixels, the box of each positive RoI's object; undefined for the background.
        matched: int32 [S], position of that object in the ground truth; undefined for the background.
    """

    boxes: np.ndarray
    labels: np.ndarray
    target_boxes: np.ndarray
    matched: np.ndarray

    def __len__(self) -> int:
        """Returns the number of RoIs."""
        return len(self.boxes)

    @property
    def num_positives(self) -> int:
        """Returns the number of positive RoIs, which come first."""
        return int((self.labels > 0).sum())


@dataclass(frozen=True, eq=False, repr=False)
class MaskOutputs:
    """Masks of the positive RoIs, in the order of the RoIs, each on a grid over its RoI.

    Args:
        targets: float32 [S, M, M], share of each cell that the object covers.
        probabilities: float32 [S, M, M], masks of the true class as predicted by the mask head.
    """

    targets: np.ndarray
    probabilities: np.ndarray

    def __len__(self) -> int:
        """Returns the number of masks."""
        return len(self.targets)

    @property
    def ious(self) -> np.ndarray:
        """Returns the IoU float32 [S] of targets and predictions, both cut at one half; 0 if both masks are empty."""
        target, predicted = self.targets > 0.5, self.probabilities > 0.5
        union = (target | predicted).sum(axis=(1, 2))
        return ((target & predicted).sum(axis=(1, 2)) / np.maximum(union, 1)).astype(np.float32)


@dataclass(frozen=True, eq=False, repr=False)
class StageOutputs:
    """Outputs of all stages for one image, with all boxes in pixels of the image.

    Args:
        image: uint8 [H, W, 3], RGB.
        class_names: K names, of the labels 1..K.
        ground_truth: annotated objects in the image, or None if it is not annotated.
        levels: the levels of the RPN, finest first.
        candidates: the best proposals of each level of the RPN before NMS.
        proposals: the proposals that remain after NMS.
        rois: RoIs sampled for training; None without ground truth.
        class_boxes: float32 [R, K, 4], the box head's box of every class for every proposal, before NMS.
        class_scores: float32 [R, K], their probabilities; -1 for boxes without area.
        detections: the final detections.
        masks: masks of the positive RoIs; None without ground truth masks.
    """

    image: np.ndarray
    class_names: tuple[str, ...]
    ground_truth: GroundTruth | None
    levels: tuple[AnchorLevel, ...]
    candidates: ScoredBoxes
    proposals: ScoredBoxes
    rois: SampledRoIs | None
    class_boxes: np.ndarray
    class_scores: np.ndarray
    detections: Detections
    masks: MaskOutputs | None

    def __repr__(self) -> str:
        """Returns a short description with the numbers of levels, proposals and detections."""
        height, width = self.image.shape[:2]
        objects = "not given" if self.ground_truth is None else f"{len(self.ground_truth)} objects"
        return (
            f"StageOutputs({height} x {width} pixels, ground truth {objects}, {len(self.levels)} levels, "
            f"{len(self.proposals)} proposals, {len(self.detections)} detections)"
        )
