"""Runs a model over a data set and scores what each stage does.

Shapes: B batch, R proposals, D detections.
"""

import functools
import itertools

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from keras_mrcnn.errors import UserError
from keras_mrcnn.evaluation.coco_metrics import evaluate_detections
from keras_mrcnn.evaluation.rpn_metrics import RPNMetrics
from keras_mrcnn.structures import Detections
from keras_mrcnn.targets.rpn_targets import label_anchors

STAGES = ("rpn", "box", "mask")
UNKNOWN = -1  # stands for the category id that a class has not got; leaves with the detections of the class


def evaluate_model(model, dataset, batches, stages=STAGES, progress=True, workers=None):
    """Scores the stages of a model on a data set. Devices and workers take whole batches in turn.

    Args:
        model: `MaskRCNN`.
        dataset: `CocoDataset`, whose classes the model knows by name. The model may know others: what it finds of these
            is left out.
        batches: `evaluation_dataset` of it; where several workers evaluate together, this one's share.
        stages: which of "rpn", "box" and "mask" to score.
        progress: whether to show a progress bar.
        workers: `Workers` that evaluate together; by default this process alone, on the current strategy's devices.

    Returns:
        metrics, a dict of each stage's scores ("rpn": `RPNMetrics.result`; "box" and "mask":
        `evaluate_detections`), and results, the detections in COCO's format, in original pixels, with the category ids
        of the data set. They do not depend on how many devices and workers there are.

    Raises:
        ValueError: an unknown stage, or the data set has classes that the model does not.
    """
    _check(model, dataset, stages)
    strategy = tf.distribute.get_strategy() if workers is None else workers.strategy
    devices = strategy.num_replicas_in_sync if workers is None else workers.share.devices
    outputs, total = _run(model, batches, stages, strategy, devices), int(batches.cardinality())
    bar = tqdm(outputs, "evaluate", total, unit="batch", disable=None if progress else True, leave=False)
    found = _collect(bar, stages, model.config.class_names, dict(zip(dataset.class_names, dataset.category_ids)))
    everything = [found] if workers is None else workers.exchange(found)
    rpn = RPNMetrics()
    for part, _ in everything:
        rpn.merge(part)
    in_turn = itertools.zip_longest(*(of_batches for _, of_batches in everything), fillvalue=())
    results = [result for of_batches in in_turn for of_batch in of_batches for result in of_batch]
    scores = {}
    if "rpn" in stages:
        scores["rpn"] = rpn.result(dataset.coco, dataset.category_ids)
    for stage, iou_type in (("box", "bbox"), ("mask", "segm")):
        if stage in stages:
            scores[stage] = evaluate_detections(
                dataset.coco, results, iou_type, dataset.image_ids, dataset.category_ids
            )
    return scores, results


def _run(model, batches, stages, strategy, devices):
    """Each batch, and the outputs of `_run_step` for it, both in NumPy; the devices take one batch each at a time."""

    @functools.partial(tf.function, input_signature=[[batches.element_spec] * devices])
    def step(group):
        def on_device():
            number = tf.get_static_value(tf.distribute.get_replica_context().replica_id_in_sync_group)
            return _run_step(model, group[number % devices], stages)

        outputs = strategy.run(on_device)
        return [
            {name: strategy.experimental_local_results(value)[device] for name, value in outputs.items()}
            for device in range(devices)
        ]

    stream = iter(batches)
    for group in iter(lambda: list(itertools.islice(stream, devices)), []):
        spare = devices - len(group)  # devices that have nothing to do at the end do the last batch again
        for batch, outputs in zip(group, step(group + group[-1:] * spare)):
            yield tf.nest.map_structure(lambda x: x.numpy(), (batch, outputs))


def _collect(outputs, stages, names, ids):
    """What `_run` gives -> `RPNMetrics`, and for each batch a list of its detections in COCO's format."""
    rpn, found = RPNMetrics(), []
    ids_of_labels = [ids.get(name, UNKNOWN) for name in names]
    for batch, output in outputs:
        sizes, originals, image_ids = batch["image_sizes"], batch["original_sizes"], batch["image_ids"]
        if "rpn" in stages:
            boxes = output["proposals"] * _scale(sizes, originals)[:, None, :]
            rpn.update_anchors(output["anchor_labels"], output["objectness"])
            rpn.update_proposals(image_ids, boxes, output["proposal_scores"], output["proposal_count"])
        if "boxes" in output:
            results = []
            detected = split_batch(output, sizes, originals, names, ids_of_labels)
            for image_id, detections in zip(image_ids.tolist(), detected):
                known = [name in ids for name in detections.class_names]
                results.extend(detections[known].to_coco(image_id))
            found.append(results)
    return rpn, found


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


def _run_step(model, batch, stages):
    """The model's steps one after the other, none computed twice."""
    images, image_sizes, settings = batch["images"], batch["image_sizes"], model.config.rpn
    features = model.extract_features(images)
    objectness, deltas, anchors = model.score_anchors(features, images)
    proposals = model.proposals(objectness, deltas, anchors, image_sizes)
    outputs = {}
    if "rpn" in stages:
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
    if {"box", "mask"} & set(stages):
        detections = model.predict_boxes(features, proposals, image_sizes)
        outputs.update(detections._asdict())
        if "mask" in stages:
            outputs["masks"] = model.predict_masks(features, detections)
    return outputs


def _scale(image_sizes, original_sizes):
    """Factors float32 [B, 4] that take xyxy boxes of the input to the original."""
    ratio = np.asarray(original_sizes, np.float32) / np.asarray(image_sizes, np.float32)
    return ratio[:, [1, 0, 1, 0]]


def _check(model, dataset, stages):
    unknown = set(stages) - set(STAGES)
    if unknown:
        raise UserError(f"stages: unknown {', '.join(sorted(unknown))}; known are {', '.join(STAGES)}")
    if not dataset.class_names or not set(dataset.class_names) <= set(model.config.class_names):
        raise UserError(
            f"the data set has the classes {', '.join(dataset.class_names)}, "
            f"the model {', '.join(model.config.class_names)}; evaluate on classes that the model has"
        )
    for name in dataset.class_names:
        if dataset.class_names.count(name) > 1:
            raise UserError(f"the data set has several classes called {name}; rename all but one")
