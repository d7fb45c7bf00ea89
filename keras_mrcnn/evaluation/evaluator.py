"""Runs a model over a data set and scores each stage.

Shapes: B batch, N anchors, R proposals, D detections.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from keras_mrcnn.base.background import in_background
from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.records import OUTPUT_NAMES, Detections
from keras_mrcnn.base.stage_names import IOU_TYPES, SCORED_PARTS
from keras_mrcnn.data.batching import equal_size_batches, spread_rows
from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.data.sharing import WHOLE
from keras_mrcnn.evaluation.coco_metrics import evaluate_detections
from keras_mrcnn.evaluation.rpn_metrics import RPNMetrics
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.ops.images import scale_boxes
from keras_mrcnn.targets.rpn_targets import label_anchors

Batch = dict[str, np.ndarray]
READ_AHEAD = 2  # batches


def evaluate_model(
    model: MaskRCNN,
    dataset: CocoDataset,
    stages: Sequence[str] = SCORED_PARTS,
    *,
    batch_size: int = 1,
    images: int | None = None,
    progress: bool = True,
    workers: Any = None,
    on_batch: Callable[[int], None] | None = None,
) -> tuple[dict[str, dict], list[dict]]:
    """Scores the stages of a model on a data set.

    Images take the same steps as in `MaskRCNN.predict`, so the scores are those of its detections. Devices and workers
    process whole batches in turn.

    Args:
        model: the `MaskRCNN` to score.
        dataset: the `CocoDataset` to score it on. The model must know its classes by name. Detections of classes that
            only the model knows are left out.
        stages: which of "rpn", "box" and "mask" to score.
        batch_size: the largest number of images, all of one size, that go through the network at once.
        images: the largest number of images to score, spread evenly over the data set; by default all.
        progress: whether to show a progress bar.
        workers: `Workers` that evaluate together; by default this process alone, on the current strategy's devices.
        on_batch: function that is called after each batch of this process with its number of images.

    Returns:
        metrics, a dict of stage name to scores (those of `RPNMetrics.result` for "rpn" and of `evaluate_detections` for
        "box" and "mask"), and results, a list of the detections in COCO's format, in pixels of the original images,
        with the category ids of the data set. Neither depends on the number of devices and workers.

    Raises:
        ValueError: a stage is unknown, the data set has classes that the model does not know, or an image or its
            annotations cannot be used.
    """
    _check(model, dataset, stages)
    strategy = tf.distribute.get_strategy() if workers is None else workers.strategy
    devices = strategy.num_replicas_in_sync if workers is None else workers.share.devices
    share = WHOLE if workers is None else workers.share
    chosen = spread_rows(len(dataset.image_ids), images)
    batches = equal_size_batches(np.asarray(dataset.image_sizes)[chosen], batch_size)
    rows = [chosen[batch].tolist() for batch in batches[share.index :: share.count]]
    with closing(in_background(_read(dataset, rows), READ_AHEAD, threading.Event())) as batches:
        outputs = _run(model, batches, stages, strategy, devices)
        bar = tqdm(outputs, "evaluate", len(rows), unit="batch", disable=None if progress else True, leave=False)
        own = _collect(bar, stages, model, dict(zip(dataset.class_names, dataset.category_ids)), on_batch)
    every = [own] if workers is None else workers.exchange(own)
    rpn = RPNMetrics()
    for part, _ in every:
        rpn.merge(part)
    in_turn = itertools.zip_longest(*(of_batches for _, of_batches in every), fillvalue=())
    results = [result for of_batches in in_turn for of_batch in of_batches for result in of_batch]
    scores = {}
    if "rpn" in stages:
        scores["rpn"] = rpn.result(dataset.coco, dataset.category_ids)
    for stage, iou_type in IOU_TYPES.items():
        if stage in stages:
            scores[stage] = evaluate_detections(
                dataset.coco, results, iou_type, [dataset.image_ids[row] for row in chosen], dataset.category_ids
            )
    return scores, results


def _read(dataset: CocoDataset, batches: list[list[int]]) -> Generator[Batch, None, None]:
    """Gives every image once and unchanged, in batches of images of one size.

    Args:
        dataset: images and objects.
        batches: rows of the images of each batch.

    Yields:
        Dict of
            images     uint8 [B, H, W, C]
            image_ids  int64 [B]           COCO ids
            gt_boxes   float32 [B, G, 4]   xyxy pixels of the image, zero-padded
            gt_labels  int32 [B, G]        1..K, -1 for padding; G >= 1 always
    """
    for rows in batches:
        image_ids = [int(dataset.image_ids[row]) for row in rows]
        truths = [dataset.ground_truth(image_id, mask_size=0) for image_id in image_ids]
        most = max(1, *map(len, truths))
        yield {
            "images": np.stack([dataset.load_image(image_id) for image_id in image_ids]),
            "image_ids": np.array(image_ids, np.int64),
            "gt_boxes": np.stack([np.pad(truth.boxes, [(0, most - len(truth)), (0, 0)]) for truth in truths]),
            "gt_labels": np.stack(
                [np.pad(truth.labels, (0, most - len(truth)), constant_values=-1) for truth in truths]
            ),
        }


def _run(
    model: MaskRCNN,
    batches: Iterator[Batch],
    stages: Sequence[str],
    strategy: tf.distribute.Strategy,
    devices: int,
) -> Iterator[tuple[Batch, Batch]]:
    """Yields each batch and the outputs of `_run_step` for it in NumPy. Each device takes one batch at a time."""

    spec = {
        "images": tf.TensorSpec([None, None, None, model.config.channels], tf.uint8),
        "image_ids": tf.TensorSpec([None], tf.int64),
        "gt_boxes": tf.TensorSpec([None, None, 4], tf.float32),
        "gt_labels": tf.TensorSpec([None, None], tf.int32),
    }

    @functools.partial(tf.function, autograph=False, input_signature=[[spec] * devices])
    def step(group):
        def on_device():
            number = tf.get_static_value(tf.distribute.get_replica_context().replica_id_in_sync_group)
            return _run_step(model, group[number % devices], stages)

        outputs = strategy.run(on_device)
        return [
            {name: strategy.experimental_local_results(value)[device] for name, value in outputs.items()}
            for device in range(devices)
        ]

    for group in iter(lambda: list(itertools.islice(batches, devices)), []):
        spare = devices - len(group)  # devices without a batch at the end repeat the last one
        for batch, outputs in zip(group, step(group + group[-1:] * spare)):
            yield batch, {name: value.numpy() for name, value in outputs.items()}


def _collect(
    outputs: Iterable[tuple[Batch, Batch]],
    stages: Sequence[str],
    model: MaskRCNN,
    data_ids: dict[str, int],
    on_batch: Callable[[int], None] | None,
) -> tuple[RPNMetrics, list[list[dict]]]:
    """Returns the `RPNMetrics` of the outputs of `_run`, and the detections of each batch in COCO's format."""
    rpn, results = RPNMetrics(), []
    class_names = dict(zip(model.config.category_ids, model.config.class_names))
    for batch, output in outputs:
        image_ids = batch["image_ids"]
        if "rpn" in stages:
            rpn.update_anchors(output["anchor_labels"], output["objectness"])
            rpn.update_proposals(
                image_ids, output["proposals"], output["proposal_scores"], output["proposal_count"]
            )
        if "boxes" in output:
            of_batch = []
            for row, image_id in enumerate(image_ids.tolist()):
                arrays = {name: output[name][row] for name in OUTPUT_NAMES if name in output}
                detections = Detections.from_outputs(arrays, class_names, batch["images"].shape[1:3])
                of_batch.extend(with_ids_of(data_ids, detections).to_coco(image_id))
            results.append(of_batch)
        if on_batch is not None:
            on_batch(len(image_ids))
    return rpn, results


def with_ids_of(data_ids: dict[str, int], detections: Detections) -> Detections:
    """Returns the detections of the classes of a data set, with its category ids.

    Args:
        data_ids: dict of class name to category id of the data set.
        detections: detections of any classes; those of other classes are dropped.
    """
    known = detections[np.array([name in data_ids for name in detections.class_names], bool)]
    ids = np.array([data_ids[name] for name in known.class_names], np.int32)
    return dataclasses.replace(known, category_ids=ids)


def _run_step(model: MaskRCNN, batch: dict[str, tf.Tensor], stages: Sequence[str]) -> dict[str, tf.Tensor]:
    """Runs the steps of the model one after another, each only once; boxes are in pixels of the original images."""
    inputs, settings = model.preprocess(batch["images"]), model.config.rpn
    images, image_sizes, picture_size = inputs["images"], inputs["image_sizes"], tf.shape(batch["images"])[1:3]
    features = model.extract_features(images)
    objectness, deltas, anchors = model.score_anchors(features, images)
    proposals = model.proposals(objectness, deltas, anchors, image_sizes)
    outputs = {}
    if "rpn" in stages:
        labels, _ = label_anchors(
            tf.concat(anchors, axis=0),
            scale_boxes(batch["gt_boxes"], picture_size, image_sizes[0]),
            batch["gt_labels"],
            positive_iou=settings.positive_iou,
            negative_iou=settings.negative_iou,
        )
        outputs.update(
            anchor_labels=labels,
            objectness=tf.concat(objectness, axis=1),
            proposals=scale_boxes(proposals.boxes, image_sizes[0], picture_size),
            proposal_scores=proposals.scores,
            proposal_count=proposals.valid,
        )
    if {"box", "mask"} & set(stages):
        detections = model.predict_boxes(features, proposals, image_sizes)
        final = detections._asdict()
        if "mask" in stages:
            final["masks"] = model.predict_masks(features, detections)
        outputs.update(model.postprocess(final, image_sizes[0], picture_size))
    return outputs


def _check(model: MaskRCNN, dataset: CocoDataset, stages: Sequence[str]) -> None:
    """Raises ValueError if a stage is unknown, or if the classes of the data set are not those of the model."""
    unknown = set(stages) - set(SCORED_PARTS)
    if unknown:
        raise UserError(f"stages: unknown {', '.join(sorted(unknown))}; known are {', '.join(SCORED_PARTS)}")
    if not dataset.class_names or not set(dataset.class_names) <= set(model.config.class_names):
        raise UserError(
            f"the data set has the classes {', '.join(dataset.class_names)}, "
            f"the model {', '.join(model.config.class_names)}; evaluate on classes that the model has"
        )
    for name in dataset.class_names:
        if dataset.class_names.count(name) > 1:
            raise UserError(f"the data set has several classes called {name}; rename all but one")
