"""What every stage of the model made of one image: plain arrays, everything in pixels of the original image.

`keras_mrcnn.inspection.inspect_stages` fills the record; the `show_` verbs draw it.

Shape letters: H W of the image, h w of a feature map, A anchors a cell, P boxes, S sampled RoIs, R proposals,
K classes, M mask side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_mrcnn.base.records import Detections, GroundTruth


@dataclass(frozen=True, eq=False, repr=False)
class AnchorLevel:
    """The RPN's view of one level.

    Args:
        name: "P2" and so on, or "C4".
        stride: float (y, x), pixels from one cell to the next; cell (i, j) is centred on (i * y, j * x).
        boxes: float32 [h, w, A, 4], the anchors, xyxy pixels; they may reach outside the image.
        labels: int32 [h, w, A], 1 positive, 0 negative, -1 ignored; None without ground truth.
        objectness: float32 [h, w, A], the RPN's probability of an object.
    """

    name: str
    stride: tuple[float, float]
    boxes: np.ndarray
    labels: np.ndarray | None
    objectness: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class ScoredBoxes:
    """Boxes with scores, best first.

    Args:
        boxes: float32 [P, 4], xyxy pixels, inside the image.
        scores: float32 [P], 0 to 1.
    """

    boxes: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, eq=False, repr=False)
class SampledRoIs:
    """Proposals, with the ground truths among them, as the box head's training samples them; positives first.

    Args:
        boxes: float32 [S, 4], xyxy pixels.
        labels: int32 [S], 1..K, 0 for background.
        target_boxes: float32 [S, 4], xyxy pixels: the object of each positive (anything for the background).
        matched: int32 [S], which ground truth that is (anything for the background).
    """

    boxes: np.ndarray
    labels: np.ndarray
    target_boxes: np.ndarray
    matched: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def num_positives(self) -> int:
        """How many of them are positive: the first ones."""
        return int((self.labels > 0).sum())


@dataclass(frozen=True, eq=False, repr=False)
class MaskOutputs:
    """Masks of the positive RoIs, in their order, each on a grid over its RoI.

    Args:
        targets: float32 [S, M, M], share of a cell that the object covers.
        probabilities: float32 [S, M, M], what the mask head says for the true class.
    """

    targets: np.ndarray
    probabilities: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def ious(self) -> np.ndarray:
        """IoU float32 [S] of target and prediction, both taken above one half; 0 where neither has a cell."""
        target, predicted = self.targets > 0.5, self.probabilities > 0.5
        union = (target | predicted).sum(axis=(1, 2))
        return ((target & predicted).sum(axis=(1, 2)) / np.maximum(union, 1)).astype(np.float32)


@dataclass(frozen=True, eq=False, repr=False)
class StageOutputs:
    """All stages of one image; all boxes in its pixels.

    Args:
        image: uint8 [H, W, 3], RGB.
        class_names: K names, those of the labels 1..K.
        ground_truth: what is in the image, or None where that is not known.
        levels: one for each level that the RPN looks at, finest first.
        candidates: what the RPN proposes before NMS, the best of each level.
        proposals: what is left of them after NMS.
        rois: RoIs sampled for training; None without ground truth.
        class_boxes: float32 [R, K, 4], where the box head sees each class, for every proposal, before NMS.
        class_scores: float32 [R, K], its probability; -1 where the box has no area.
        detections: the final result.
        masks: of the positive RoIs; None without ground truth, or where it has no masks.
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
        height, width = self.image.shape[:2]
        objects = "not given" if self.ground_truth is None else f"{len(self.ground_truth)} objects"
        return (
            f"StageOutputs({height} x {width} pixels, ground truth {objects}, {len(self.levels)} levels, "
            f"{len(self.proposals)} proposals, {len(self.detections)} detections)"
        )
