"""Makes training batches from any tf.data.Dataset of single images with boxes, labels and full-size masks.

The pipeline consists of TensorFlow operations alone, so Python does not slow it down.

Shapes: H and W height and width of the image, C channels, G ground truths, S side of a compact mask, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.config import ModelConfig
from keras_mrcnn.data import transforms
from keras_mrcnn.data.augmentation_objects import LEAST_SIDE
from keras_mrcnn.data.batching import LARGEST_SEED
from keras_mrcnn.data.coco import DEFAULT_MASK_SIZE
from keras_mrcnn.data.pipeline import padded_batches
from keras_mrcnn.ops import images as image_ops

# For each field: rank, last side ("C" for the channels of the pictures), name of the allowed dtypes, and their test.
_FIELDS = {
    "image": (3, "C", "uint8", lambda dtype: dtype == tf.uint8),
    "boxes": (2, 4, "floating-point or whole numbers", lambda dtype: dtype.is_floating or dtype.is_integer),
    "labels": (1, None, "whole numbers", lambda dtype: dtype.is_integer),
    "masks": (3, None, "bool or uint8", lambda dtype: dtype in (tf.bool, tf.uint8)),
}
_SHAPES = {"image": "[H, W, C]", "boxes": "[G, 4]", "labels": "[G]", "masks": "[G, H, W]"}


def batches_from(
    samples: tf.data.Dataset,
    config: ModelConfig,
    *,
    batch_size: int,
    mask_size: int = DEFAULT_MASK_SIZE,
    seed: int = 0,
    drop_remainder: bool = False,
) -> tf.data.Dataset:
    """Makes the batches on which the stages train from single images with their objects.

    Images are normalised and resized as `config` says, and masks become compact masks. This function does not shuffle,
    repeat or augment; do that with `samples` first.

    Args:
        samples: tf.data.Dataset of dicts, one for each image, of
            image (or images): uint8 [H, W, C], where C is `config.channels`; RGB for 3;
            boxes: [G, 4], xyxy in pixels of the image, with an area inside it; G may be 0;
            labels: integer [G], 1..K in the order of `config.class_names`;
            masks: bool or uint8 [G, H, W], full-size, not 0 where the object is. RPN and box stage need none.
            Other fields are ignored.
        config: `ModelConfig` of the model, `model.config`.
        batch_size: images in a batch, B.
        mask_size: side of the compact masks, S.
        seed: seed of the choice of anchors and RoIs, together with the position of an image in `samples`. In an endless
            stream, `samples.repeat()`, the positions differ in each epoch.
        drop_remainder: whether to drop a last batch with fewer images; training on several devices needs this.

    Returns:
        tf.data.Dataset of batches as `training_dataset` gives them; `image_ids` are the positions in `samples`. Objects
        with a side below one pixel after the resize are dropped, and counted in `dropped`. Iterating raises
        tf.errors.InvalidArgumentError if the fields of a sample do not fit each other.

    Raises:
        ValueError: a field is missing, or has the wrong type or shape.

    Example:
        >>> sample = {"image": tf.zeros([48, 64, 3], tf.uint8), "boxes": [[8.0, 8.0, 40.0, 32.0]], "labels": [1],
        ...           "masks": tf.ones([1, 48, 64], tf.bool)}
        >>> samples = tf.data.Dataset.from_tensors(sample).repeat()
        >>> config = ModelConfig(class_names=("cat",), min_size=96, max_size=128)
        >>> batch = next(iter(batches_from(samples, config, batch_size=2)))
        >>> batch["images"].shape, batch["gt_boxes"][0].numpy().tolist()
        (TensorShape([2, 96, 128, 3]), [[16.0, 16.0, 80.0, 64.0]])
    """
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; it must be at least 1")
    names = _field_names(samples.element_spec, config.channels)

    def make(index: tf.Tensor, sample: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        fields = {
            field: tf.ensure_shape(sample[name], _static_shape(field, config.channels)) for field, name in names.items()
        }
        return _make_sample(index, fields, config, mask_size if "masks" in fields else 0, seed % LARGEST_SEED)

    made = samples.enumerate().map(make, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return padded_batches(made, batch_size, drop_remainder)


def compact_masks(masks: tf.Tensor, boxes: tf.Tensor, size: int) -> tf.Tensor:
    """Returns compact masks: full-size masks inside their boxes, averaged exactly over size x size cells.

    This is `data.compact_masks.compact_mask` in TensorFlow.

    Args:
        masks: bool or uint8 [G, H, W], not 0 where the object is.
        boxes: float32 [G, 4], xyxy pixels, inside the mask and with an area.
        size: cells along each side, S.

    Returns:
        uint8 [G, S, S], coverage of each cell, 0..255.

    Example:
        >>> compact_masks(tf.eye(2, dtype=tf.uint8)[None], tf.constant([[0.0, 0.0, 2.0, 2.0]]), 2).numpy().tolist()
        [[[255, 0], [0, 255]]]
    """

    spec = tf.TensorSpec([size, size], tf.uint8)
    return tf.map_fn(lambda one: transforms.compact_mask(*one, size), (masks, boxes), fn_output_signature=spec)


def _make_sample(
    index: tf.Tensor, fields: dict[str, tf.Tensor], config: ModelConfig, mask_size: int, seed: int
) -> dict[str, tf.Tensor]:
    """Turns the fields of one image into an element without the batch axis, and asserts that they fit each other."""
    image, labels = fields["image"], tf.cast(fields["labels"], tf.int32)
    old_size = tf.shape(image)[:2]
    height, width = tf.unstack(tf.cast(old_size, tf.float32))
    boxes = tf.minimum(tf.maximum(tf.cast(fields["boxes"], tf.float32), 0.0), [width, height, width, height])
    with tf.control_dependencies(_assertions(index, fields, boxes, labels, len(config.class_names))):
        boxes = tf.identity(boxes)
    if mask_size:
        masks = compact_masks(fields["masks"], boxes, mask_size)
    else:
        masks = tf.zeros([tf.shape(boxes)[0], 0, 0], tf.uint8)
    size = image_ops.resized_size(old_size[0], old_size[1], config.min_size, config.max_size)
    boxes = image_ops.scale_boxes(boxes, old_size, size)
    kept = tf.reduce_all(boxes[:, 2:] - boxes[:, :2] >= LEAST_SIDE, axis=1)
    # An image without objects gets one row of padding, so that no later tensor is empty.
    missing = tf.cast(~tf.reduce_any(kept), tf.int32)
    return {
        "images": image_ops.pad_to_multiple(image_ops.resize_to(image_ops.normalise_picture(image), size)),
        "image_sizes": size,
        "image_ids": index,
        "original_sizes": old_size,
        "gt_boxes": tf.pad(boxes[kept], [[0, missing], [0, 0]]),
        "gt_labels": tf.pad(labels[kept], [[0, missing]], constant_values=-1),
        "gt_masks": tf.pad(masks[kept], [[0, missing], [0, 0], [0, 0]]),
        "seeds": tf.stack([seed, tf.cast(index % LARGEST_SEED, tf.int32)]),
        "dropped": tf.reduce_sum(tf.cast(~kept, tf.int32)),
    }


def _assertions(
    index: tf.Tensor, fields: dict[str, tf.Tensor], boxes: tf.Tensor, labels: tf.Tensor, num_classes: int
) -> list[tf.Operation]:
    """Returns assertions about a sample that need its values, not only its types and static shapes."""
    count = tf.shape(labels)[0]
    known = tf.reduce_all((labels >= 1) & (labels <= num_classes))
    checks = [
        (tf.shape(boxes)[0] == count, "has another number of boxes than of labels,", count),
        (known, f"has labels that are not in 1..{num_classes}:", labels),
        (tf.reduce_all(boxes[:, 2:] > boxes[:, :2]), "has boxes without an area inside the image:", fields["boxes"]),
    ]
    if "masks" in fields:
        expected = tf.concat([[count], tf.shape(fields["image"])[:2]], axis=0)
        fits = tf.reduce_all(tf.shape(fields["masks"]) == expected)
        checks.append((fits, "should have masks of the shape", expected))
    return [tf.debugging.Assert(holds, ["sample", index, sentence, value]) for holds, sentence, value in checks]


def _field_names(spec: Any, channels: int) -> dict[str, str]:
    """Returns a dict from each field to its name in the samples; raises `ValueError` if the samples cannot be used."""
    if not isinstance(spec, dict):
        raise UserError(
            f"samples must be dicts with image, boxes, labels and masks, not {type(spec).__name__}; use "
            "samples.map(...) to make them"
        )
    names = {field: field for field in _FIELDS if field in spec}
    if "image" not in names and "images" in spec:
        names["image"] = "images"
    absent = [field for field in ("image", "boxes", "labels") if field not in names]
    if absent:
        raise UserError(f"samples have no {' and no '.join(absent)}; they have {', '.join(map(str, spec))}")
    for field, name in names.items():
        rank, _, kind, fits = _FIELDS[field]
        shape = _SHAPES[field].replace("C", str(channels))
        _check_field(name, spec[name], rank, _static_shape(field, channels)[-1], kind, fits, shape)
    return names


def _check_field(
    name: str, spec: Any, rank: int, last: int | None, kind: str, fits: Callable[[tf.DType], bool], shape: str
) -> None:
    """Raises `ValueError` unless a field of the samples has the expected type and shape."""
    if not isinstance(spec, tf.TensorSpec):
        raise UserError(f"{name} must be a dense tensor {shape}, not {type(spec).__name__}")
    if not fits(spec.dtype):
        raise UserError(f"{name} must hold {kind}, not {spec.dtype.name}")
    if spec.shape.rank not in (None, rank):
        hint = "; samples are single images: take them apart with samples.unbatch()" * (spec.shape.rank == rank + 1)
        raise UserError(f"{name} must have the shape {shape}, not {spec.shape}{hint}")
    if spec.shape.rank and last and spec.shape[-1] not in (None, last):
        raise UserError(f"{name} must have the shape {shape}, not {spec.shape}")


def _static_shape(field: str, channels: int) -> list[int | None]:
    """Returns the shape of a field, with None for variable sides."""
    rank, last = _FIELDS[field][:2]
    return [None] * (rank - 1) + [channels if last == "C" else last]
