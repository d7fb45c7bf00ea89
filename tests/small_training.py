"""A model small enough to be trained in a test, and batches as `training_dataset` yields them, without files."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_mrcnn.config import Config, ModelConfig
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.weights.names import named_weights
from keras_mrcnn.weights.native import value_of

CLASS_NAMES = ("vehicle", "person", "animal")
# The parts of a model, by the torchvision names of their weights.
BACKBONE, NECK, RPN = "backbone.body.", "backbone.fpn.", "rpn."
BOX_HEAD, MASK_HEAD = ("roi_heads.box_head.", "roi_heads.box_predictor."), ("roi_heads.mask_",)


def small_config(
    *, norm="frozen_bn", neck="fpn", freeze_stages=0, box_loss="smooth_l1", width=0.125, **changes
) -> ModelConfig:
    """A `ModelConfig` with a ResNet-18 of an eighth of the width, and heads to match."""
    sizes = [[16], [32], [64], [128], [256]] if neck == "fpn" else [[16, 32, 64]]
    settings = {
        "class_names": CLASS_NAMES,
        "min_size": 128,
        "max_size": 160,
        "backbone": {"depth": 18, "width": width, "norm": norm, "freeze_stages": freeze_stages},
        "neck": {"kind": neck, "channels": round(128 * width)},
        "rpn": {
            "anchor_sizes": sizes, "samples": 32, "pre_nms_train": 60, "post_nms_train": 30, "pre_nms_test": 60,
            "post_nms_test": 30, "box_loss": box_loss,
        },
        "box_head": {"channels": round(256 * width), "samples": 16, "box_loss": box_loss},
        "mask_head": {"channels": round(128 * width), "convolutions": 1, "samples": 8},
    }  # fmt: skip
    return ModelConfig.model_validate({**settings, **changes})


def small_model(**settings) -> MaskRCNN:
    """`MaskRCNN` of `small_config`."""
    return MaskRCNN(small_config(**settings))


def make_batch(objects=(2, 3), *, side=64, mask_size=28, seed=0):
    """A batch with that many objects in each image; the classes take turns.

    Args:
        objects: a count for each image; 0 for an image without objects.
        side: of the square images, pixels.
        mask_size: of the compact masks.
        seed: of everything.
    """
    random = np.random.default_rng(seed)
    batch, rows = len(objects), max(max(objects), 1)
    boxes = np.zeros([batch, rows, 4], np.float32)
    labels = np.full([batch, rows], -1, np.int32)
    for image, count in enumerate(objects):
        corners, sides = random.uniform(0, side / 2, [count, 2]), random.uniform(6, side / 2, [count, 2])
        boxes[image, :count] = np.concatenate([corners, corners + sides], axis=1)
        labels[image, :count] = np.arange(count) % len(CLASS_NAMES) + 1
    masks = random.integers(0, 256, [batch, rows, mask_size, mask_size], np.uint8)
    return {
        "images": tf.constant(random.normal(size=[batch, side, side, 3]), tf.float32),
        "image_sizes": tf.constant([[side, side]] * batch, tf.int32),
        "image_ids": tf.range(1, batch + 1, dtype=tf.int64),
        "original_sizes": tf.constant([[side, side]] * batch, tf.int32),
        "gt_boxes": tf.constant(boxes),
        "gt_labels": tf.constant(labels),
        "gt_masks": tf.constant(masks * (labels >= 0)[:, :, None, None].astype(np.uint8)),
        "seeds": tf.constant(random.integers(0, 2**31 - 1, [batch, 2]), tf.int32),
    }


def endless(*batches):
    """A tf.data.Dataset that gives these batches of one shape over and over."""
    stacked = {name: tf.stack([batch[name] for batch in batches]) for name in batches[0]}
    return tf.data.Dataset.from_tensor_slices(stacked).repeat()


def snapshot(model):
    """Every weight and statistic of a model, by its torchvision name."""
    return {name: value_of(entry.variable).copy() for name, entry in named_weights(model).items()}


def changed(before, after):
    """The names of what is not the same to the bit."""
    return {name for name in before if before[name].tobytes() != after[name].tobytes()}


def greatest_difference(first, second):
    """The greatest absolute difference of two snapshots."""
    assert first.keys() == second.keys()
    return max(float(np.abs(first[name] - second[name]).max()) for name in first)


def small_run(scenes, *, box=None, mask=None, rpn=None, joint=None, data=None, validate=True, validation_images=0,
              seed=0, **model):  # fmt: skip
    """A `Config` for `StagedTrainer` on `GeneratedScenes`: two epochs of two steps a stage, unless told otherwise.

    The data are prepared once for all runs, beside the annotations.

    Args:
        scenes: `GeneratedScenes`.
        rpn, box, mask: settings of a stage.
        joint: settings of the joint stage, which is left out without.
        data: settings of the data.
        validate: whether the stages are scored.
        validation_images: of the losses after each epoch, for which each stage has one more graph.
        seed: of the run.
        **model: see `small_config`.
    """
    files = {"train_annotations": scenes.annotation_files["train"], "train_images": scenes.image_folders["train"]}
    if validate:
        files.update(val_annotations=scenes.annotation_files["val"], val_images=scenes.image_folders["val"])
    files["prepared_folder"] = scenes.annotation_files["train"].with_name("prepared")
    stage = {"epochs": 2, "steps_per_epoch": 2, "learning_rate": 8e-3, "warmup_steps": 1, "clip_norm": 1.0}
    network = small_config(**{"min_size": 64, "max_size": 96, "class_names": (), **model})
    return Config(
        model=network,
        data={"batch_size": 2, "mask_size": 28, **{key: str(value) for key, value in files.items()}, **(data or {})},
        train={"rpn": {**stage, **(rpn or {})}, "box": {**stage, **(box or {})}, "mask": {**stage, **(mask or {})},
               "joint": {**stage, **(joint or {"epochs": 0})}, "seed": seed, "validation_images": validation_images},
    )  # fmt: skip


def with_training(config, **settings):
    """The config with settings of `train` changed."""
    return type(config).model_validate({**config.model_dump(), "train": {**config.train.model_dump(), **settings}})
