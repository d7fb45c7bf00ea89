"""The tf.data pipelines for training and for evaluation.

An element is one batch, a dict:

    images          float32 [B, H, W, 3]  normalised; zero-padded right and bottom, H and W multiples of 32
    image_sizes     int32 [B, 2]          (h, w) of the image in it, after the resize
    image_ids       int64 [B]             COCO ids
    original_sizes  int32 [B, 2]          (h, w) of the image file
    gt_boxes        float32 [B, G, 4]     xyxy pixels of the padded input, zero-padded
    gt_labels       int32 [B, G]          1..K, -1 for padding; G >= 1 always
    gt_masks        uint8 [B, G, S, S]    coverage inside the ground-truth box, 0..255, zero-padded
    seeds           int32 [B, 2]          for stateless random choices; depend on seed, epoch and image alone
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_mrcnn.data import batching, transforms
from keras_mrcnn.data.coco import DEFAULT_MASK_SIZE, CocoDataset
from keras_mrcnn.data.exit_guard import ExitGuard

_PREFETCHED_BATCHES = 2
_LOADED_TYPES = [tf.uint8, tf.float32, tf.int32, tf.uint8, tf.int64, tf.int32, tf.bool, tf.float64, tf.int32]


class _Request(NamedTuple):
    """What the stream asks for at one place: an image and its settings."""

    index: int
    seeds: np.ndarray
    flip: bool = False
    jitter: float = 1.0
    min_size: int = 0


def training_dataset(
    dataset: CocoDataset,
    *,
    batch_size: int,
    min_size: int | Sequence[int],
    max_size: int,
    flip: float = 0.5,
    scale_jitter: tuple[float, float] = (1.0, 1.0),
    mask_size: int = DEFAULT_MASK_SIZE,
    seed: int = 0,
    start_batch: int = 0,
) -> tf.data.Dataset:
    """The endless stream of augmented, full batches.

    Args:
        dataset: images and annotations.
        batch_size: images in a batch, B; static in the element's spec.
        min_size: short side after the resize, pixels; of several, one is drawn for each image.
        max_size: limit of the long side, pixels (before the jitter).
        flip: probability of mirroring an image left to right.
        scale_jitter: (lowest, highest) factor on the size of the image, drawn uniformly; (1, 1) for none.
        mask_size: side of the compact masks, S; 0 for none.
        seed: decides order and augmentation.
        start_batch: number of the first batch to give. The stream from there on is, bit for bit, what it would be
            had it been read from the beginning; the skipped images are not decoded.

    Returns:
        tf.data.Dataset of batches as this module's docstring describes them.

    Raises:
        ValueError: a setting is out of its range.
    """
    min_sizes = (min_size,) if isinstance(min_size, int) else tuple(min_size)
    _check_settings(min_sizes, max_size, flip, scale_jitter, start_batch)
    plan = batching.BatchPlan(dataset.image_sizes, batch_size, seed)
    low, high = scale_jitter

    def request(position: int) -> _Request:
        sample = plan.sample(position)
        draws = batching.draw_sample(seed, sample)
        return _Request(
            index=sample.index,
            seeds=draws.seeds,
            flip=draws.flip < flip,
            jitter=low + (high - low) * draws.jitter,
            min_size=min_sizes[int(draws.size * len(min_sizes))],
        )

    positions = tf.data.Dataset.range(start_batch * batch_size, np.iinfo(np.int64).max)
    return _batched(dataset, positions, request, batch_size, max_size, mask_size, drop_remainder=True)


def evaluation_dataset(
    dataset: CocoDataset, *, batch_size: int, min_size: int, max_size: int, mask_size: int = 0
) -> tf.data.Dataset:
    """Every image once, without augmentation, in a fixed order that puts similar aspect ratios together.

    Args:
        dataset: images and annotations.
        batch_size: images in a batch; the last batch may have fewer.
        min_size: short side after the resize, pixels.
        max_size: limit of the long side, pixels.
        mask_size: side of the compact masks, S; evaluation needs none.

    Returns:
        finite tf.data.Dataset of batches as this module's docstring describes them; its cardinality is known.

    Raises:
        ValueError: a setting is out of its range.
    """
    _check_settings((min_size,), max_size, 0.0, (1.0, 1.0), 0)
    order = [index for batch in batching.evaluation_batches(dataset.image_sizes, batch_size) for index in batch]

    def request(position: int) -> _Request:
        index = order[position]
        return _Request(index=index, seeds=np.array([0, index], np.int32), min_size=min_size)

    positions = tf.data.Dataset.range(len(order))
    return _batched(dataset, positions, request, batch_size, max_size, mask_size, drop_remainder=False)


def reading_error(error: Exception) -> str | None:
    """The sentence about a file that broke a pipeline, out of the long message of TensorFlow's exception.

    Args:
        error: what iterating over the dataset, or `fit`, raised.

    Returns:
        the sentence, or None where the error came from somewhere else.
    """
    found = re.search(r"(?:ImageError|ValueError): ((?:image file|the box of|the segmentation of) [^\n]*)", str(error))
    return found.group(1) if found else None


def _check_settings(
    min_sizes: Sequence[int], max_size: int, flip: float, scale_jitter: tuple[float, float], start_batch: int
) -> None:
    if not min_sizes or min(min_sizes) < 1:
        raise ValueError(f"min_size is {min_sizes}; it must be one positive number of pixels, or several")
    if max_size < max(min_sizes):
        raise ValueError(f"max_size is {max_size}, less than min_size {max(min_sizes)}; raise it")
    if not 0 <= flip <= 1:
        raise ValueError(f"flip is {flip}; it is a probability, from 0 to 1")
    if not 0 < scale_jitter[0] <= scale_jitter[1]:
        raise ValueError(f"scale_jitter is {scale_jitter}; it must be (lowest, highest), both positive")
    if start_batch < 0:
        raise ValueError(f"start_batch is {start_batch}; it must not be negative")


def _batched(
    dataset: CocoDataset,
    positions: tf.data.Dataset,
    request: Callable[[int], _Request],
    batch_size: int,
    max_size: int,
    mask_size: int,
    drop_remainder: bool,
) -> tf.data.Dataset:
    """Places in the stream -> decoded and transformed samples, in parallel but in order -> padded batches."""

    def load(position: np.ndarray) -> tuple[np.ndarray, ...]:
        return _load(dataset, request(int(position)), mask_size)

    guarded = ExitGuard(load, lambda: _empty_sample(mask_size))
    samples = positions.map(
        lambda position: _make_sample(tf.numpy_function(guarded, [position], _LOADED_TYPES), max_size, mask_size),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    padding = {name: tf.zeros([], spec.dtype) for name, spec in samples.element_spec.items()}
    padding["gt_labels"] = tf.constant(-1, tf.int32)
    batches = samples.padded_batch(batch_size, padding_values=padding, drop_remainder=drop_remainder)
    options = tf.data.Options()
    # Several workers take turns at whole batches; there are no files to share out.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return batches.prefetch(_PREFETCHED_BATCHES).with_options(options)


def _make_sample(loaded: list[tf.Tensor], max_size: int, mask_size: int) -> dict[str, tf.Tensor]:
    """What `_load` gives -> an element of the dataset, without the batch axis."""
    image, boxes, labels, masks, image_id, seeds, flip, jitter, min_size = loaded
    shapes = [[None, None, 3], [None, 4], [None], [None, mask_size, mask_size], [], [2], [], [], []]
    for tensor, shape in zip(loaded, shapes):
        tensor.set_shape(shape)
    original_size = tf.shape(image)[:2]
    size = transforms.resized_size(original_size[0], original_size[1], min_size, max_size, jitter)
    boxes = transforms.scale_boxes(boxes, original_size, size)
    image = transforms.resize_to(transforms.normalise(image), size)
    image, boxes, masks = tf.cond(flip, lambda: transforms.flip(image, boxes, masks), lambda: (image, boxes, masks))
    # An image without objects has one row of padding, so that no tensor further on is empty.
    missing = tf.cast(tf.equal(tf.shape(labels)[0], 0), tf.int32)
    return {
        "images": transforms.pad_to_multiple(image),
        "image_sizes": size,
        "image_ids": image_id,
        "original_sizes": original_size,
        "gt_boxes": tf.pad(boxes, [[0, missing], [0, 0]]),
        "gt_labels": tf.pad(labels, [[0, missing]], constant_values=-1),
        "gt_masks": tf.pad(masks, [[0, missing], [0, 0], [0, 0]]),
        "seeds": seeds,
    }


def _load(dataset: CocoDataset, request: _Request, mask_size: int) -> tuple[np.ndarray, ...]:
    """The part that runs in Python; gives `_LOADED_TYPES`."""
    image_id = dataset.image_ids[request.index]
    truth = dataset.ground_truth(image_id, mask_size)
    settings = (request.seeds, np.bool_(request.flip), np.float64(request.jitter), np.int32(request.min_size))
    image = dataset.load_image(image_id)
    masks = np.zeros((len(truth), 0, 0), np.uint8) if truth.masks is None else truth.masks
    return image, truth.boxes, truth.labels, masks, np.int64(image_id), *settings


def _empty_sample(mask_size: int) -> tuple[np.ndarray, ...]:
    """The smallest thing with `_LOADED_TYPES`, for a pipeline that is being shut down."""
    image, boxes = np.zeros((1, 1, 3), np.uint8), np.zeros((0, 4), np.float32)
    labels, masks = np.zeros(0, np.int32), np.zeros((0, mask_size, mask_size), np.uint8)
    settings = (np.zeros(2, np.int32), np.bool_(False), np.float64(1), np.int32(1))
    return image, boxes, labels, masks, np.int64(0), *settings
