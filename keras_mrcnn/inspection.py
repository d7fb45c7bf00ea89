"""Runs the model step by step on one image and keeps the output of each step.

Shapes: H W of the image, C of its channels.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.image_files import Picture, read_image
from keras_mrcnn.base.records import Detections, GroundTruth
from keras_mrcnn.layers.detections import BoxDetections
from keras_mrcnn.layers.proposals import Proposals
from keras_mrcnn.mask_rcnn.detector import MASK_SIDE
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.ops.images import scale_boxes
from keras_mrcnn.ops.masks import crop_mask_targets
from keras_mrcnn.targets.roi_targets import RoITargets, sample_rois
from keras_mrcnn.targets.rpn_targets import label_anchors
from keras_mrcnn.visualize.stage_outputs import AnchorLevel, MaskOutputs, SampledRoIs, ScoredBoxes, StageOutputs


def inspect_stages(
    model: MaskRCNN, image: Picture, ground_truth: GroundTruth | None = None, seed: int = 0
) -> StageOutputs:
    """Runs every stage on one image and keeps the outputs of each.

    RoIs are sampled as for the training of the box head, but from the proposals of prediction.

    Args:
        model: `MaskRCNN`.
        image: uint8 [H, W, C] of any size, a path of an image file, or a Pillow image.
        ground_truth: objects of the image, as `CocoDataset.ground_truth` reads them; without it there are no targets.
        seed: for the random choice of RoIs.

    Returns:
        `StageOutputs` of NumPy arrays, in pixels of this image.

    Raises:
        ImageError: the image cannot be read or has another dtype or shape.
        ValueError: the ground truth is of another size or other classes.

    Example:
        >>> views = inspect_stages(model, dataset.load_image(7), dataset.ground_truth(7))
        >>> visualize.show_proposals(views)

    Reference: He et al., Mask R-CNN, 2017, section 3.
    """
    image = read_image(image, channels=model.config.channels).copy()  # the caller may change its own array later
    class_names = tuple(model.config.class_names)
    frame = _Frame(model, image)
    truth = None if ground_truth is None else _batch_of(ground_truth, class_names, frame, seed)
    features = model.extract_features(frame.images)
    objectness, deltas, anchors = model.score_anchors(features, frame.images)
    boxes, scores = model.proposals.candidates(objectness, deltas, anchors, frame.sizes)
    proposals = model.proposals(objectness, deltas, anchors, frame.sizes)
    class_logits, box_deltas = model.box_head(model.box_pool(model.roi_features(features), proposals.boxes))
    class_boxes, class_scores = model.detections.candidates(class_logits, box_deltas, proposals, frame.sizes)
    detections = model.detections(class_logits, box_deltas, proposals, frame.sizes)
    rois = None if truth is None else _sample(model, proposals, truth)
    count = int(proposals.valid[0])
    return StageOutputs(
        image=image,
        class_names=class_names,
        ground_truth=ground_truth,
        levels=_anchor_levels(model, frame, features, objectness, anchors, truth),
        candidates=_sorted(frame.to_original(boxes[0]), tf.reduce_max(scores[0], axis=-1).numpy()),
        proposals=ScoredBoxes(frame.to_original(proposals.boxes[0, :count]), proposals.scores[0, :count].numpy()),
        rois=None if rois is None else _roi_views(rois, frame),
        class_boxes=frame.to_original(class_boxes[0, :count]),
        class_scores=class_scores[0, :count].numpy(),
        detections=_final(model, frame, detections, model.predict_masks(features, detections)),
        masks=None if rois is None or "gt_masks" not in truth else _mask_views(model, features, rois, truth),
    )


class _Frame:
    """The image as a batch of one for the network, resized and padded, and conversions of boxes to and from it."""

    def __init__(self, model: MaskRCNN, image: np.ndarray):
        self.original_size = image.shape[:2]
        inputs = model.preprocess(tf.constant(image[None]))
        self.images, self.sizes = inputs["images"], inputs["image_sizes"]
        self.size = self.sizes[0]

    def to_original(self, boxes: tf.Tensor) -> np.ndarray:
        """Converts boxes [..., 4] from pixels of the padded input to pixels of the original image."""
        return scale_boxes(boxes, self.size, self.original_size).numpy()

    def from_original(self, boxes: np.ndarray) -> tf.Tensor:
        """Converts boxes [..., 4] from pixels of the original image to pixels of the padded input."""
        return scale_boxes(tf.constant(boxes), self.original_size, self.size)


def _batch_of(
    ground_truth: GroundTruth, class_names: tuple[str, ...], frame: _Frame, seed: int
) -> dict[str, tf.Tensor]:
    """Returns the ground truth as a training batch of one, with a padding row where there are no objects."""
    if ground_truth.image_size != tuple(frame.original_size):
        raise UserError(
            f"The image is {frame.original_size[0]} x {frame.original_size[1]} pixels, but the ground truth belongs to "
            f"one of {ground_truth.image_size[0]} x {ground_truth.image_size[1]}; give the image that it was read with."
        )
    for label, name in zip(ground_truth.labels.tolist(), ground_truth.class_names):
        if label > len(class_names) or class_names[label - 1] != name:
            raise UserError(
                f"The ground truth calls class {label} {name!r}, but the model knows {', '.join(class_names)} in this "
                "order; read it with CocoDataset(..., class_names=model.config.class_names)."
            )
    padding = 0 if len(ground_truth) else 1
    batch = {
        "gt_boxes": np.pad(frame.from_original(ground_truth.boxes), [(0, padding), (0, 0)]),
        "gt_labels": np.pad(ground_truth.labels, (0, padding), constant_values=-1),
        "seeds": np.int32([seed, 0]),
    }
    if ground_truth.masks is not None:
        batch["gt_masks"] = np.pad(ground_truth.masks, [(0, padding), (0, 0), (0, 0)])
    return {name: tf.constant(value[None]) for name, value in batch.items()}


def _anchor_levels(
    model: MaskRCNN,
    frame: _Frame,
    features: list[tf.Tensor],
    objectness: list[tf.Tensor],
    anchors: list[tf.Tensor],
    truth: Mapping[str, tf.Tensor] | None,
) -> tuple[AnchorLevel, ...]:
    """Returns an `AnchorLevel` for each map."""
    labels = [None] * len(anchors)
    if truth is not None:
        config = model.config.rpn
        every, _ = label_anchors(
            tf.concat(anchors, axis=0),
            truth["gt_boxes"],
            truth["gt_labels"],
            positive_iou=config.positive_iou,
            negative_iou=config.negative_iou,
        )
        labels = tf.split(every[0], [len(level) for level in anchors])
    levels = []
    for level, (fmap, logits, boxes) in enumerate(zip(features, objectness, anchors)):
        grid = fmap.shape[1:3]
        strides = np.array(frame.images.shape[1:3]) // np.array(grid)
        cells = (*grid, -1)
        levels.append(
            AnchorLevel(
                name=f"P{level + 2}" if len(features) > 1 else "C4",
                stride=tuple(float(side) for side in strides * np.array(frame.original_size) / frame.size.numpy()),
                boxes=frame.to_original(boxes).reshape(*cells, 4),
                labels=None if truth is None else labels[level].numpy().reshape(cells),
                objectness=tf.sigmoid(logits[0]).numpy().reshape(cells),
            )
        )
    return tuple(levels)


def _sorted(boxes: np.ndarray, scores: np.ndarray) -> ScoredBoxes:
    """Returns the candidates that are not tiny, best first."""
    order = np.argsort(-scores, kind="stable")[: int((scores >= 0).sum())]
    return ScoredBoxes(boxes[order], scores[order])


def _sample(model: MaskRCNN, proposals: Proposals, truth: Mapping[str, tf.Tensor]) -> RoITargets:
    """Samples RoIs as for the training of the box head, without padding rows."""
    config = model.config.box_head
    rois = sample_rois(
        proposals,
        truth,
        positive_iou=config.positive_iou,
        samples=config.samples,
        positive_fraction=config.positive_fraction,
    )
    count = int(tf.reduce_sum(tf.cast(rois.labels >= 0, tf.int32)))
    return RoITargets(*(value[:, :count] for value in rois))


def _roi_views(rois: RoITargets, frame: _Frame) -> SampledRoIs:
    boxes, targets = frame.to_original(rois.rois[0]), frame.to_original(rois.boxes[0])
    return SampledRoIs(boxes, rois.labels[0].numpy(), targets, rois.matched[0].numpy())


def _mask_views(
    model: MaskRCNN, features: list[tf.Tensor], rois: RoITargets, truth: Mapping[str, tf.Tensor]
) -> MaskOutputs:
    """Returns mask targets and predictions for the positives, which are the first RoIs."""
    count = int(tf.reduce_sum(tf.cast(rois.labels > 0, tf.int32)))
    if not count:
        return MaskOutputs(*np.zeros((2, 0, MASK_SIDE, MASK_SIDE), np.float32))
    boxes, labels, matched = (value[:, :count] for value in (rois.rois, rois.labels, rois.matched))
    detections = BoxDetections(boxes, tf.zeros_like(labels, tf.float32), labels, tf.constant([count]))
    predicted = model.predict_masks(features, detections)
    targets = crop_mask_targets(truth["gt_masks"], truth["gt_boxes"], boxes, matched, predicted.shape[-1])
    return MaskOutputs(targets[0].numpy(), predicted[0].numpy())


def _final(model: MaskRCNN, frame: _Frame, detections: BoxDetections, masks: tf.Tensor) -> Detections:
    """Returns the result as `MaskRCNN.predict` does."""
    outputs = model.postprocess({**detections._asdict(), "masks": masks}, frame.size, frame.original_size)
    arrays = {name: value[0].numpy() for name, value in outputs.items()}
    names = dict(zip(model.config.category_ids, model.config.class_names))
    return Detections.from_outputs(arrays, names, frame.original_size)
