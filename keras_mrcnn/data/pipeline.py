"""Makes the tf.data pipelines for training and validation from prepared data, of TensorFlow operations alone.

A batch is a dict:

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

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.augmentation import Augmentation
from keras_mrcnn.data.augmentation_samples import Fields, Sampling, make_sample
from keras_mrcnn.data.batching import aspect_ratio_batches, not_converted, planned_batches
from keras_mrcnn.data.prepared import PreparedDataset
from keras_mrcnn.data.sharing import WHOLE, Share
from keras_mrcnn.ops.images import SIZE_MULTIPLE

PREFETCHED_BATCHES = 2


def training_dataset(
    dataset: PreparedDataset,
    *,
    batch_size: int,
    min_size: int | Sequence[int],
    max_size: int,
    with_masks: bool = True,
    seed: int = 0,
    start_batch: int = 0,
    share: Share = WHOLE,
    **augmentation: Any,
) -> tf.data.Dataset:
    """Makes the endless stream of augmented, full batches for training.

    Args:
        dataset: images and objects.
        batch_size: images in a batch, B; static in the element's spec.
        min_size: short side after the resize, pixels; of several, one is drawn for each image.
        max_size: limit of the long side before the jitter, pixels.
        with_masks: whether batches have gt_masks with an area; RPN and box stage do not need them.
        seed: seed of the order and the augmentation.
        start_batch: number of the first batch. The stream is identical, bit for bit, to one from the beginning that
            skips the earlier batches, but their images are not read.
        share: the share of each batch that this process reads. Its pieces follow one another, each padded to the size
            of the whole batch, so that all shares together train like whole batches. Images of other shares are not
            read.
        **augmentation: settings of `Augmentation`: flip, scale_jitter, crop, rotation, colour_jitter, copy_paste.

    Returns:
        tf.data.Dataset of batches, as described at the top of this module.

    Raises:
        ValueError: a setting is out of range.
    """
    sampling = Sampling(min_size, max_size, with_masks, seed, Augmentation(**augmentation))
    plan = planned_batches(dataset.image_sizes, batch_size, seed, start_batch, dataset.index["shards"])
    return sampled_batches(dataset, plan, batch_size, sampling, share)


def validation_dataset(
    dataset: PreparedDataset,
    *,
    batch_size: int,
    min_size: int,
    max_size: int,
    with_masks: bool = True,
    images: int | None = None,
    share: Share = WHOLE,
) -> tf.data.Dataset:
    """Makes batches for the `validation_data` of a stage's `fit`, the same every time, without augmentation.

    Args:
        dataset: images and objects.
        batch_size: images in a batch, B; the last batch may have fewer.
        min_size: short side after the resize, pixels.
        max_size: limit of the long side, pixels.
        with_masks: whether batches have gt_masks with an area; RPN and box stage do not need them.
        images: number of images, spread evenly over the data set; by default all. If there are fewer, some repeat.
        share: part of each batch to return, as for `training_dataset`; then `images` must be a multiple of
            `batch_size`.

    Returns:
        Finite tf.data.Dataset of batches as `training_dataset` gives them. Similar aspect ratios share a batch.

    Raises:
        ValueError: a setting is out of its range, or the data set has no images.

    Example:
        >>> data = PreparedDataset("prepared/val")  # doctest: +SKIP
        >>> validation = validation_dataset(data, batch_size=2, min_size=800, max_size=1333)  # doctest: +SKIP
        >>> stage.fit(train, steps_per_epoch=100, epochs=12, validation_data=validation)  # doctest: +SKIP
    """
    if not len(dataset) or (images is not None and images < 1):
        raise UserError(f"validation needs images: the data set has {len(dataset)}, images is {images}")
    count = len(dataset) if images is None else images
    rows = np.arange(count, dtype=np.int64) * len(dataset) // count
    batches = aspect_ratio_batches(dataset.image_sizes[rows], batch_size)
    order = np.concatenate([rows[batch] for batch in batches])
    places = tf.data.Dataset.from_tensor_slices(np.stack([np.zeros_like(order), order], axis=1))
    sampling = Sampling(min_size, max_size, with_masks)
    validation = sampled_batches(dataset, places.batch(batch_size), batch_size, sampling, share, drop_remainder=False)
    return validation.apply(tf.data.experimental.assert_cardinality(len(batches) * share.devices))


def single_samples(dataset: PreparedDataset, places: np.ndarray, sampling: Sampling) -> tf.data.Dataset:
    """Makes batches of one sample each, with the augmentation that `training_dataset` gives them in the same epochs.

    Args:
        dataset: images and objects.
        places: int64 [n, 2], epoch and row in the data set of each sample.
        sampling: how images become samples.

    Returns:
        Finite tf.data.Dataset in the order of `places`.
    """
    return sampled_batches(dataset, tf.data.Dataset.from_tensor_slices(places[:, None]), 1, sampling)


def sampled_batches(
    dataset: PreparedDataset,
    plan: tf.data.Dataset,
    batch_size: int,
    sampling: Sampling,
    share: Share = WHOLE,
    drop_remainder: bool = True,
) -> tf.data.Dataset:
    """Makes the batches of a plan.

    Args:
        dataset: images and objects.
        plan: tf.data.Dataset of int64 [B, 2], epoch and row of each image of a batch.
        batch_size: images in a batch, B.
        sampling: how images become samples.
        share: as for `training_dataset`.
        drop_remainder: whether to drop a last batch with fewer images.

    Returns:
        tf.data.Dataset of batches, as described at the top of this module.
    """
    return shared_batches(
        plan,
        batch_size,
        make=lambda place: make_sample(dataset, place, sampling),
        size=lambda place: sampling.size(dataset, place),
        strides={"images": 1},
        share=share,
        drop_remainder=drop_remainder,
    )


def shared_batches(
    plan: tf.data.Dataset,
    batch_size: int,
    make: Callable[[tf.Tensor], Fields],
    size: Callable[[tf.Tensor], tf.Tensor],
    strides: Mapping[str, int],
    share: Share = WHOLE,
    drop_remainder: bool = True,
    prefetched: int = PREFETCHED_BATCHES,
) -> tf.data.Dataset:
    """Makes the pieces of the batches of a plan that one process reads, in parallel but in order.

    A process that reads only a part of a batch pads it to the size of the whole batch, because the places of anchors
    and the statistics of normalisation layers depend on that size.

    Args:
        plan: tf.data.Dataset of int64 [B, 2], epoch and row of each image of a batch.
        batch_size: images in a batch, B.
        make: function that makes a sample of its place, int64 [2].
        size: function that returns the size of a sample before its image is read, int32 [2].
        strides: for each field that has the size of the padded input, its pixels for each cell along a side.
        share: the share of each batch that this process reads.
        drop_remainder: whether to drop a last batch with fewer images.
        prefetched: number of batches to prefetch.

    Returns:
        tf.data.Dataset of the pieces.
    """
    piece = share.piece_size(batch_size)
    make = not_converted(make)
    if piece == batch_size:
        samples = plan.unbatch().map(make, tf.data.AUTOTUNE, deterministic=True)
        return padded_batches(samples, piece, drop_remainder, prefetched)

    @not_converted
    def spread(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        sizes = tf.map_fn(size, batch, fn_output_signature=tf.TensorSpec([2], tf.int32))
        largest = -(-tf.reduce_max(sizes, axis=0) // SIZE_MULTIPLE) * SIZE_MULTIPLE
        own = share.of(batch)
        return own, tf.repeat(largest[None], tf.shape(own)[0], axis=0)

    @not_converted
    def make_padded(place: tf.Tensor, size: tf.Tensor) -> Fields:
        sample = make(place)
        for name, stride in strides.items():
            bottom, right = tf.unstack(-(-size // stride) - tf.shape(sample[name])[:2])
            sample[name] = tf.pad(sample[name], [[0, bottom], [0, right], [0, 0]])
        return sample

    samples = plan.map(spread).unbatch().map(make_padded, tf.data.AUTOTUNE, deterministic=True)
    return padded_batches(samples, piece, drop_remainder, prefetched)


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
