"""Measures how much AP an exported variant loses against float32, by running the exported files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from tqdm import tqdm

from keras_mrcnn.base.stage_names import IOU_TYPES
from keras_mrcnn.base.tables import text_table
from keras_mrcnn.cli.evaluate import open_dataset
from keras_mrcnn.cli.locations import split_files

if TYPE_CHECKING:
    import numpy as np

    from keras_mrcnn.base.records import Detections
    from keras_mrcnn.config import ModelConfig
    from keras_mrcnn.data.coco import CocoDataset


def open_validation(folder: Path, config: ModelConfig) -> CocoDataset:
    """Opens the validation data of a data-set folder, with the classes that the model knows."""
    return open_dataset(*split_files(folder, "val"), config)


def choose_images(dataset: CocoDataset, count: int | None) -> list[int]:
    """Returns the ids of `count` images (None: all), evenly spread over the data set, always the same ones."""
    total = len(dataset)
    count = total if count is None else min(count, total)
    return [dataset.image_ids[index * total // count] for index in range(count)]


def saved_model_detector(
    path: Path, category_ids: Iterable[int], class_names: Iterable[str]
) -> Callable[[np.ndarray], Detections]:
    """Returns a function that runs an exported SavedModel on an image, uint8 [H, W, 3], and gives its `Detections`."""
    import tensorflow as tf

    from keras_mrcnn.base.records import Detections

    loaded, names = tf.saved_model.load(str(path)), dict(zip(category_ids, class_names))

    def detect(image):
        outputs = loaded.signatures["detect"](images=tf.constant(image[None]))
        arrays = {name: value[0].numpy() for name, value in outputs.items()}
        return Detections.from_outputs(arrays, names, image.shape[:2])

    return detect


def print_ap_change(
    dataset: CocoDataset,
    count: int | None,
    name: str,
    reference: Callable[[np.ndarray], Detections],
    variant: Callable[[np.ndarray], Detections],
) -> None:
    """Scores two detectors on the same images and prints their AP side by side.

    Args:
        dataset: `CocoDataset`.
        count: how many of its images, evenly spread; None means all.
        name: name of the variant.
        reference, variant: functions from an image, uint8 [H, W, 3], to its `Detections`.
    """
    image_ids = choose_images(dataset, count)
    results = find(dataset, image_ids, (reference, variant))
    before, after = (score(dataset, image_ids, detections) for detections in results)
    click.echo(f"\nAP on {len(image_ids)} images of {dataset.source}:\n{format_ap_change(before, after, name)}")


def find(
    dataset: CocoDataset, image_ids: Iterable[int], detectors: Sequence[Callable[[np.ndarray], Detections]]
) -> list[list[dict]]:
    """Returns a list of COCO results for each detector: the classes of the data set, with its category ids."""
    from keras_mrcnn.evaluation.evaluator import with_ids_of

    ids, results = dict(zip(dataset.class_names, dataset.category_ids)), [[] for _ in detectors]
    for image_id in tqdm(image_ids, "score", unit="image", disable=None, leave=False):
        image = dataset.load_image(image_id)
        for detect, own_results in zip(detectors, results):
            own_results.extend(with_ids_of(ids, detect(image)).to_coco(image_id))
    return results


def score(
    dataset: CocoDataset, image_ids: Sequence[int], results: list[dict]
) -> dict[tuple[str, str], float | None]:
    """Returns AP and AP50 by (stage, metric), numbers from 0 to 1, or None where the images have no objects."""
    from keras_mrcnn.evaluation.coco_metrics import evaluate_detections

    metrics = {
        stage: evaluate_detections(dataset.coco, results, iou_type, image_ids, dataset.category_ids)
        for stage, iou_type in IOU_TYPES.items()
    }
    return {(stage, metric): metrics[stage][metric] for stage in metrics for metric in ("AP", "AP50")}


def format_ap_change(
    before: Mapping[tuple[str, str], float | None], after: Mapping[tuple[str, str], float | None], name: str
) -> str:
    """Returns a table of two dicts from `score`, with the columns float32, `name` and difference."""
    rows = [("", "float32", name, "difference")]
    for row in before:
        numbers = (before[row], after[row])
        cells = [None] * 3 if None in numbers else [*(f"{n:.4f}" for n in numbers), f"{numbers[1] - numbers[0]:+.4f}"]
        rows.append((" ".join(row), *cells))
    return text_table(rows, min_width=9)
