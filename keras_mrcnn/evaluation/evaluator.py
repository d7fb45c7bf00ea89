"""Runs a model over a data set and scores what each stage does.

Shapes: B batch, R proposals, D detections.
"""

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from keras_mrcnn.evaluation.coco_metrics import evaluate_detections
from keras_mrcnn.evaluation.rpn_metrics import RPNMetrics
from keras_mrcnn.structures import Detections
from keras_mrcnn.targets.rpn_targets import label_anchors

STAGES = ("rpn", "box", "mask")


def evaluate_model(model, dataset, batches, stages=STAGES, progress=True):
    """Scores the stages of a model on a data set.

    Args:
        model: `MaskRCNN`.
        dataset: `CocoDataset` with the model's classes.
        batches: `evaluation_dataset` of it.
        stages: which of "rpn", "box" and "mask" to score.
        progress: whether to show a progress bar.

    Returns:
        metrics, a dict of each stage's scores ("rpn": `RPNMetrics.result`; "box" and "mask":
        `evaluate_detections`), and results, the detections in COCO's format, in original pixels.

    Raises:
        ValueError: an unknown stage, or the data set has other classes than the model.
    """
    _check(model, dataset, stages)
    rpn, results, with_boxes = RPNMetrics(), [], {"box", "mask"} & set(stages)
    step = tf.function(
        lambda batch: _run_step(model, batch, "rpn" in stages, bool(with_boxes), "mask" in stages),
        input_signature=[batches.element_spec],
    )
    for batch in tqdm(batches, desc="evaluate", unit="batch", disable=None if progress else True, leave=False):
        outputs = tf.nest.map_structure(lambda x: x.numpy(), step(batch))
        sizes, originals = batch["image_sizes"].numpy(), batch["original_sizes"].numpy()
        image_ids = batch["image_ids"].numpy()
        if "rpn" in stages:
            scale = _scale(sizes, originals)[:, None, :]
            rpn.update_anchors(outputs["anchor_labels"], outputs["objectness"])
            rpn.update_proposals(
                image_ids, outputs["proposals"] * scale, outputs["proposal_scores"], outputs["proposal_count"]
            )
        if with_boxes:
            found = split_batch(outputs, sizes, originals, dataset.class_names, dataset.category_ids)
            for image_id, detections in zip(image_ids.tolist(), found):
                results.extend(detections.to_coco(image_id))
    scores = {}
    if "rpn" in stages:
        scores["rpn"] = rpn.result(dataset.coco, dataset.category_ids)
    for stage, iou_type in (("box", "bbox"), ("mask", "segm")):
        if stage in stages:
            scores[stage] = evaluate_detections(
                dataset.coco, results, iou_type, dataset.image_ids, dataset.category_ids
            )
    return scores, results


def split_batch(outputs, image_sizes, original_sizes, class_names, category_ids):
    """One `Detections` for each image of a batch, in pixels of the original image.

    Args:
        outputs: dict of arrays as `MaskRCNN` returns them; masks may be missing.
        image_sizes: int [B, 2], height and width in the network's input, pixels.
        original_sizes: int [B, 2], height and width of the originals, pixels.
        class_names, category_ids: of labels 1..K.
    """
    scale = _scale(image_sizes, original_sizes)
    names, ids = np.array(["", *class_names], object), np.array([0, *category_ids], np.int32)
    found = []
    for row, count in enumerate(outputs["valid"]):
        labels = outputs["labels"][row, :count]
        masks = outputs["masks"][row, :count] if "masks" in outputs else None
        found.append(
            Detections(
                boxes=outputs["boxes"][row, :count] * scale[row],
                scores=outputs["scores"][row, :count],
                category_ids=ids[labels],
                class_names=tuple(names[labels]),
                masks=masks,
                image_size=tuple(int(side) for side in original_sizes[row]),
            )
        )
    return found


def _run_step(model, batch, rpn, boxes, masks):
    """The model's steps one after the other, none computed twice."""
    images, image_sizes, settings = batch["images"], batch["image_sizes"], model.config.rpn
    features = model.extract_features(images)
    objectness, deltas, anchors = model.score_anchors(features, images)
    proposals = model.proposals(objectness, deltas, anchors, image_sizes)
    outputs = {}
    if rpn:
        labels, _ = label_anchors(
            tf.concat(anchors, axis=0),
            batch["gt_boxes"],
            batch["gt_labels"],
            positive_iou=settings.positive_iou,
            negative_iou=settings.negative_iou,
        )
        outputs.update(
            anchor_labels=labels,
            objectness=tf.concat(objectness, axis=1),
            proposals=proposals.boxes,
            proposal_scores=proposals.scores,
            proposal_count=proposals.valid,
        )
    if boxes:
        detections = model.predict_boxes(features, proposals, image_sizes)
        outputs.update(detections._asdict())
        if masks:
            outputs["masks"] = model.predict_masks(features, detections)
    return outputs


def _scale(image_sizes, original_sizes):
    """Factors float32 [B, 4] that take xyxy boxes of the input to the original."""
    ratio = np.asarray(original_sizes, np.float32) / np.asarray(image_sizes, np.float32)
    return ratio[:, [1, 0, 1, 0]]


def _check(model, dataset, stages):
    unknown = set(stages) - set(STAGES)
    if unknown:
        raise ValueError(f"stages: unknown {', '.join(sorted(unknown))}; known are {', '.join(STAGES)}")
    if tuple(dataset.class_names) != tuple(model.config.class_names):
        raise ValueError(
            f"the data set has the classes {', '.join(dataset.class_names)}, "
            f"the model {', '.join(model.config.class_names)}; evaluate on data with the model's classes"
        )
