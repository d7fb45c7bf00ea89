"""Makes the tf.data pipelines for training, validation and evaluation.

A batch for training or validation is a dict:

    images          float32 [B, H, W, C]  normalised; zero-padded right and bottom, H and W multiples of 32
    image_sizes     int32 [B, 2]          (h, w) of each image without padding, after the resize
    image_ids       int64 [B]             COCO ids
    original_sizes  int32 [B, 2]          (h, w) of the image file
    gt_boxes        float32 [B, G, 4]     xyxy pixels of the padded input, zero-padded
    gt_labels       int32 [B, G]          1..K, -1 for padding; G >= 1 always
    gt_masks        uint8 [B, G, S, S]    coverage inside the ground-truth box, 0..255, zero-padded
    seeds           int32 [B, 2]          for stateless random functions; depend only on seed, epoch and image
    dropped         int32 [B]             number of objects that the augmentation made degenerate, and so dropped
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data import batching, transforms
from keras_mrcnn.data.augmentation import Augmentation
from keras_mrcnn.data.augmentation_samples import FIELDS, empty_sample, field_shape, mapped_sample, resized_sample
from keras_mrcnn.data.coco import DEFAULT_MASK_SIZE, CocoDataset
from keras_mrcnn.data.loading_guard import LoadingGuard
from keras_mrcnn.data.sharing import WHOLE, Share, pad_pieces, padded_sizes
from keras_mrcnn.ops import images

PREFETCHED_BATCHES = 2


def training_dataset(
    dataset: CocoDataset,
    *,
    batch_size: int,
    min_size: int | Sequence[int],
    max_size: int,
    mask_size: int = DEFAULT_MASK_SIZE,
    seed: int = 0,
    start_batch: int = 0,
    share: Share = WHOLE,
    **augmentation: Any,
) -> tf.data.Dataset:
    """Makes the endless stream of augmented, full batches for training.

    Args:
        dataset: images and annotations.
        batch_size: images in a batch, B; static in the element's spec.
        min_size: short side after the resize, pixels; of several, one is drawn for each image.
        max_size: limit of the long side before the jitter, pixels.
        mask_size: side of the compact masks, S; 0 for none.
        seed: seed of the order and the augmentation.
        start_batch: number of the first batch. The stream is identical, bit for bit, to one from the beginning that
            skips the earlier batches, but their images are not decoded.
        share: the share of each batch that this process reads. Its pieces follow one another, each padded to the size
            of the whole batch, so that all shares together train like whole batches. Images of other shares are not
            decoded.
        **augmentation: settings of `Augmentation`: flip, scale_jitter, crop, rotation, colour_jitter, copy_paste.

    Returns:
        tf.data.Dataset of batches, as described at the top of this module.

    Raises:
        ValueError: a setting is out of range.
    """
    plan, piece = batching.BatchPlan(dataset.image_sizes, batch_size, seed), share.piece_size(batch_size)
    if start_batch < 0:
        raise UserError(f"start_batch is {start_batch}; it must not be negative")
    settings = {"min_size": min_size, "max_size": max_size, "seed": seed, **augmentation}
    load, make = _augmented(
        dataset, lambda number: plan.sample(share.place(number, batch_size)), mask_size=mask_size, **settings
    )
    positions = tf.data.Dataset.range(start_batch * piece * share.devices, np.iinfo(np.int64).max)
    samples = _samples(positions, load, make, dataset.channels, mask_size)
    batches = padded_batches(samples, piece, drop_remainder=True)
    if piece == batch_size:
        return batches
    sizes = padded_sizes(dataset, plan.sample, batch_size, **settings)
    return pad_pieces(batches, sizes, share, start_batch, {"images": 1})


def single_samples(
    dataset: CocoDataset,
    samples: Sequence[batching.PlannedSample],
    *,
    min_size: int | Sequence[int],
    max_size: int,
    mask_size: int = DEFAULT_MASK_SIZE,
    seed: int = 0,
    **augmentation: Any,
) -> tf.data.Dataset:
    """Makes a dataset of single samples, with the augmentation that `training_dataset` gives them in the same epochs.

    Args:
        dataset: images and annotations.
        samples: epoch and row in the data set of each sample.
        min_size, max_size, mask_size, seed, **augmentation: as in `training_dataset`.

    Returns:
        Finite tf.data.Dataset in the order of `samples`; its elements are those of a batch without the batch axis.

    Raises:
        ValueError: a setting is out of range.
    """
    load, make = _augmented(dataset, samples.__getitem__, min_size, max_size, mask_size, seed, **augmentation)
    return _samples(tf.data.Dataset.range(len(samples)), load, make, dataset.channels, mask_size)


def evaluation_dataset(dataset: CocoDataset, *, batch_size: int = 1, share: Share = WHOLE) -> tf.data.Dataset:
    """Makes a dataset that gives every picture once and unchanged, for scoring a model.

    Args:
        dataset: images and annotations.
        batch_size: the most pictures in a batch. All pictures of a batch have the same size, so that none is padded
            and scores do not depend on the batches.
        share: the share of the batches that this process reads; processes take whole batches in turn.

    Returns:
        Finite tf.data.Dataset of known cardinality, of dicts:
            images     uint8 [B, H, W, C]
            image_ids  int64 [B]           COCO ids
            gt_boxes   float32 [B, G, 4]   xyxy pixels of the image, zero-padded
            gt_labels  int32 [B, G]        1..K, -1 for padding; G >= 1 always

    Raises:
        ValueError: the batch size is not positive.
    """
    batches = batching.equal_size_batches(dataset.image_sizes, batch_size)[share.index :: share.count]

    def load(number: int) -> tuple[np.ndarray, ...]:
        image_ids = [dataset.image_ids[row] for row in batches[int(number)]]
        truths = [dataset.ground_truth(image_id, mask_size=0) for image_id in image_ids]
        rows = max(1, *map(len, truths))
        boxes = [np.pad(truth.boxes, [(0, rows - len(truth)), (0, 0)]) for truth in truths]
        labels = [np.pad(truth.labels, (0, rows - len(truth)), constant_values=-1) for truth in truths]
        images = np.stack([dataset.load_image(image_id) for image_id in image_ids])
        return images, np.array(image_ids, np.int64), np.stack(boxes), np.stack(labels)

    def nothing() -> tuple[np.ndarray, ...]:
        shapes = ((1, 1, 1, dataset.channels), (1,), (1, 1, 4), (1, 1))
        return tuple(np.zeros(shape, dtype.as_numpy_dtype) for shape, (dtype, _) in zip(shapes, fields.values()))

    fields = {
        "images": (tf.uint8, [None, None, None, dataset.channels]),
        "image_ids": (tf.int64, [None]),
        "gt_boxes": (tf.float32, [None, None, 4]),
        "gt_labels": (tf.int32, [None, None]),
    }
    guarded = LoadingGuard(load, nothing)

    def batch(number: tf.Tensor) -> dict[str, tf.Tensor]:
        values = tf.numpy_function(guarded, [number], [dtype for dtype, _ in fields.values()])
        return {name: tf.ensure_shape(value, fields[name][1]) for name, value in zip(fields, values)}

    numbers = tf.data.Dataset.range(len(batches))
    return numbers.map(batch, tf.data.AUTOTUNE, deterministic=True).prefetch(PREFETCHED_BATCHES)


def reading_error(error: Exception) -> str | None:
    """Extracts the sentence that names an unusable file or annotation from TensorFlow's long error message.

    Args:
        error: exception that iterating over a dataset, or `fit`, raised.

    Returns:
        The sentence, or None if the error has another cause.
    """
    subjects = "image file|the box of|the segmentation of|annotation"
    sentence = re.search(rf"(?:ImageError|UserError): ((?:{subjects}) [^\n]*)", str(error))
    return sentence.group(1) if sentence else None


def _augmented(
    dataset: CocoDataset,
    sample_at: Callable[[int], batching.PlannedSample],
    min_size: int | Sequence[int],
    max_size: int,
    mask_size: int,
    seed: int,
    **augmentation: Any,
) -> tuple[Callable, Callable]:
    """Returns the functions `load` and `make` of `_samples` for augmented images."""
    min_sizes = (min_size,) if isinstance(min_size, int) else tuple(min_size)
    _check_sizes(min_sizes, max_size)
    settings = Augmentation(**augmentation)

    def load(position: int) -> dict[str, np.ndarray]:
        drawn = settings.draw(seed, sample_at(position), min_sizes, len(dataset))
        if settings.moves_outlines:
            return mapped_sample(dataset, drawn, max_size, mask_size, settings.crop)
        return resized_sample(dataset, drawn, max_size, mask_size)

    return load, partial(_make_sample, augmentation=settings)


def _check_sizes(min_sizes: Sequence[int], max_size: int) -> None:
    """Raises ValueError if the limits of the resize are out of range."""
    if not min_sizes or min(min_sizes) < 1:
        raise UserError(f"min_size is {min_sizes}; it must be one positive number of pixels, or several")
    if max_size < max(min_sizes):
        raise UserError(f"max_size is {max_size}, less than min_size {max(min_sizes)}; raise it")


def _samples(
    positions: tf.data.Dataset,
    load: Callable[[int], dict[str, np.ndarray]],
    make: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]],
    channels: int,
    mask_size: int,
) -> tf.data.Dataset:
    """Makes a dataset of samples, in parallel but in order.

    Args:
        positions: positions in the stream of samples.
        load: function that loads the fields of a sample in NumPy (`augmentation_samples.FIELDS`).
        make: function that makes an element of the dataset of them in TensorFlow.
        channels: channels of the pictures.
        mask_size: side of the compact masks, S.
    """
    guarded = LoadingGuard(
        lambda position: tuple(load(int(position)).values()), lambda: tuple(empty_sample(channels, mask_size).values())
    )
    types = [dtype for dtype, _ in FIELDS.values()]

    def sample(position: tf.Tensor) -> dict[str, tf.Tensor]:
        loaded = dict(zip(FIELDS, tf.numpy_function(guarded, [position], types)))
        for name in FIELDS:
            loaded[name].set_shape(field_shape(name, channels, mask_size))
        return make(loaded)

    return positions.map(sample, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def padded_batches(
    samples: tf.data.Dataset, batch_size: int, drop_remainder: bool, prefetched: int = PREFETCHED_BATCHES
) -> tf.data.Dataset:
    """Batches samples; pads each field with zeros to the largest of the batch, and labels with -1.

    Args:
        samples: dicts as described at the top of this module, without the batch axis; they may have further fields.
        batch_size: samples in a batch.
        drop_remainder: whether to drop a last batch with fewer samples.
        prefetched: number of batches to prefetch.
    """
    padding = {name: tf.zeros([], spec.dtype) for name, spec in samples.element_spec.items()}
    padding["gt_labels"] = tf.constant(-1, tf.int32)
    batches = samples.padded_batch(batch_size, padding_values=padding, drop_remainder=drop_remainder)
    options = tf.data.Options()
    # For strategies that split whole batches themselves; there are no files to distribute.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return batches.prefetch(prefetched).with_options(options)


def _make_sample(loaded: dict[str, tf.Tensor], augmentation: Augmentation) -> dict[str, tf.Tensor]:
    """Turns the fields that NumPy loads (`augmentation_samples.FIELDS`) into an element without the batch axis."""

    def transform(image: tf.Tensor, source_map: tf.Tensor, colours: tf.Tensor) -> tf.Tensor:
        if augmentation.colour_jitter:
            image = transforms.change_colours(image, colours)
        image = images.normalise(image)
        if augmentation.moves_outlines:
            return transforms.warp(image, source_map, loaded["size"])
        return images.resize_to(image, loaded["size"])

    def paste() -> tf.Tensor:
        pasted = transform(loaded["pasted_image"], loaded["pasted_map"], loaded["pasted_colours"])
        return tf.where(loaded["covered"][..., None], pasted, image)

    image = transform(loaded["image"], loaded["source_map"], loaded["colours"])
    if augmentation.copy_paste:
        image = tf.cond(tf.size(loaded["covered"]) > 0, paste, lambda: image)
    image, boxes, masks = tf.cond(
        loaded["flip"],
        lambda: transforms.flip(image, loaded["boxes"], loaded["masks"]),
        lambda: (image, loaded["boxes"], loaded["masks"]),
    )
    # An image without objects gets one row of padding, so that no later tensor is empty.
    missing = tf.cast(tf.equal(tf.shape(boxes)[0], 0), tf.int32)
    return {
        "images": images.pad_to_multiple(image),
        "image_sizes": loaded["size"],
        "image_ids": loaded["image_id"],
        "original_sizes": tf.shape(loaded["image"])[:2],
        "gt_boxes": tf.pad(boxes, [[0, missing], [0, 0]]),
        "gt_labels": tf.pad(loaded["labels"], [[0, missing]], constant_values=-1),
        "gt_masks": tf.pad(masks, [[0, missing], [0, 0], [0, 0]]),
        "seeds": loaded["seeds"],
        "dropped": loaded["dropped"],
    }
