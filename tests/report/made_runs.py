"""Run folders, data and detections made by hand, for the report."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from conftest import tiny_content
from small_models import small_config

from keras_mrcnn.config import Config, DataConfig, StageConfig, TrainConfig, save_config
from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.evaluation import evaluate_detections, write_json
from keras_mrcnn.report import Evaluation

NAMES = ("kite", "dog")
RPN_SCORES = {"accuracy": 0.97, "positive_accuracy": 0.9, "negative_accuracy": 0.98, "AR100": 0.5, "AR1000": None}
LOSSES = {
    "rpn": {"loss": [2.0, 1.0, 0.5], "objectness_loss": [1.5, 0.7, 0.3], "rpn_box_loss": [0.5, 0.3, 0.2]},
    "box": {"loss": [1.0, 0.9], "classification_loss": [0.6, 0.5], "box_loss": [0.4, 0.4]},
    "mask": {"loss": [0.6], "mask_loss": [0.6]},
}


def make_config(**data):
    model = small_config(class_names=NAMES, category_ids=(7, 18), min_size=64, max_size=96)
    stages = {stage: StageConfig(epochs=epochs) for stage, epochs in (("rpn", 12), ("box", 12), ("mask", 1))}
    return Config(model=model, data=DataConfig(**data), train=TrainConfig(**stages))


def make_run(folder, losses=LOSSES, metrics=None, **data):
    """A run folder as the trainer leaves it, without weights."""
    folder.mkdir(parents=True, exist_ok=True)
    save_config(make_config(**data), folder / "config.yaml")
    for stage, values in losses.items():
        write_losses(folder / "logs" / stage / "train", values)
    if metrics is not None:
        write_json(folder / "metrics.json", metrics)
    return folder


def write_losses(folder, values, first=0):
    """What Keras' TensorBoard callback writes at the end of each epoch."""
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default():
        for name, of_epochs in values.items():
            for step, value in enumerate(of_epochs, start=first):
                tf.summary.scalar(f"epoch_{name}", value, step=step)
        tf.summary.scalar("epoch_learning_rate", 0.1, step=first)
    writer.close()


def make_dataset(folder="images"):
    """The four images of `tiny_content`."""
    return CocoDataset(tiny_content(), folder)


def result_of(dataset, annotation_id, score=0.9, category_id=None):
    """A detection that fits an annotation exactly."""
    item = dataset.coco.anns[annotation_id]
    return {
        "image_id": item["image_id"],
        "category_id": category_id or item["category_id"],
        "bbox": item["bbox"],
        "score": score,
        "segmentation": dataset.coco.annToRLE(item),
    }


def make_evaluation(dataset):
    """Of the four objects two are found, one is taken for another class, one is missed."""
    results = [result_of(dataset, 1), result_of(dataset, 2, 0.8), result_of(dataset, 3, 0.7, category_id=18)]
    scores = {
        stage: evaluate_detections(dataset.coco, results, iou_type, dataset.image_ids, dataset.category_ids)
        for stage, iou_type in (("box", "bbox"), ("mask", "segm"))
    }
    return Evaluation(dataset, {"rpn": RPN_SCORES, **scores}, results)


def texts(table):
    """The first value of each row."""
    return [row[0] for row in table.rows]


def numbers(row):
    """A row without its name, rounded."""
    return [None if value is None else np.round(value, 4) for value in row[1:]]
