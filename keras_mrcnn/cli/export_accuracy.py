"""What an exported variant costs: its AP beside that of float32, both found by running what was exported."""

from __future__ import annotations

import click
from tqdm import tqdm

from keras_mrcnn.base.tables import text_table
from keras_mrcnn.cli.evaluate import open_dataset
from keras_mrcnn.cli.locations import split_files

IOU_TYPES = {"box": "bbox", "mask": "segm"}


def open_validation(folder, config):
    """The `CocoDataset` of the images to score on in a data-set folder, with those classes that the model knows."""
    return open_dataset(*split_files(folder, "val"), config)


def choose_images(dataset, count):
    """Ids of `count` images (None: all), evenly spread over the data set, always the same ones."""
    total = len(dataset)
    count = total if count is None else min(count, total)
    return [dataset.image_ids[index * total // count] for index in range(count)]


def saved_model_detector(path, category_ids, class_names):
    """A function from an image, uint8 [H, W, 3], to its `Detections`, that runs a SavedModel of ours."""
    import tensorflow as tf

    from keras_mrcnn.base.records import Detections

    loaded, names = tf.saved_model.load(str(path)), dict(zip(category_ids, class_names))

    def detect(image):
        outputs = loaded.signatures["detect"](images=tf.constant(image[None]))
        arrays = {name: value[0].numpy() for name, value in outputs.items()}
        return Detections.from_outputs(arrays, names, image.shape[:2])

    return detect


def print_ap_change(dataset, count, name, reference, variant):
    """Scores two detectors on the same images and prints their AP side by side.

    Args:
        dataset: `CocoDataset`.
        count: how many of its images, evenly spread; None means all.
        name: of the variant.
        reference, variant: functions from an image, uint8 [H, W, 3], to its `Detections`.
    """
    image_ids = choose_images(dataset, count)
    results = find(dataset, image_ids, (reference, variant))
    before, after = (score(dataset, image_ids, found) for found in results)
    click.echo(f"\nAP on {len(image_ids)} images of {dataset.image_folder}:\n{format_ap_change(before, after, name)}")


def find(dataset, image_ids, detectors):
    """For each detector a list of COCO results, with the data set's category ids, of the classes that it has."""
    from keras_mrcnn.evaluation.evaluator import with_ids_of

    ids, results = dict(zip(dataset.class_names, dataset.category_ids)), [[] for _ in detectors]
    for image_id in tqdm(image_ids, "score", unit="image", disable=None, leave=False):
        image = dataset.load_image(image_id)
        for detect, found in zip(detectors, results):
            found.extend(with_ids_of(ids, detect(image)).to_coco(image_id))
    return results


def score(dataset, image_ids, results):
    """Dict of (stage, metric) to a number from 0 to 1, or None where there is nothing to find."""
    from keras_mrcnn.evaluation.coco_metrics import evaluate_detections

    metrics = {
        stage: evaluate_detections(dataset.coco, results, iou_type, image_ids, dataset.category_ids)
        for stage, iou_type in IOU_TYPES.items()
    }
    return {(stage, metric): metrics[stage][metric] for stage in metrics for metric in ("AP", "AP50")}


def format_ap_change(before, after, name):
    """The table of two dicts as `score` returns them, in columns float32, `name` and difference."""
    rows = [("", "float32", name, "difference")]
    for row in before:
        numbers = (before[row], after[row])
        cells = [None] * 3 if None in numbers else [*(f"{n:.4f}" for n in numbers), f"{numbers[1] - numbers[0]:+.4f}"]
        rows.append((" ".join(row), *cells))
    return text_table(rows, min_width=9)
