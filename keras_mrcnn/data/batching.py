"""Plans which images go into which batch, before any image is read.

Images of similar aspect ratios share a batch, so that little of it is padding. The plan of a training run is an
endless, seeded stream. It can start at any batch, and then gives the same batches as a stream from the beginning.

Shapes: N images, B images in a batch.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_mrcnn.base.errors import UserError

# Bounds of width / height, which separate portrait from landscape and nearly square from long images.
_BUCKET_BOUNDS = (0.8, 1.0, 1.25)
# Images among which an epoch draws at random. Larger sets are cut into shards, which are put in random order first, so
# that a window reads few shards, and the disk's or the network's cache serves most images.
WINDOW = 2**17
LARGEST_SEED = 2**31 - 1
# Marks functions of a pipeline: they are TensorFlow operations alone. For AutoGraph to find that out takes a second or
# two at every start.
not_converted = tf.autograph.experimental.do_not_convert


def planned_batches(
    image_sizes: np.ndarray, batch_size: int, seed: int, start_batch: int = 0, shards: np.ndarray | None = None
) -> tf.data.Dataset:
    """Plans the endless stream of training batches.

    Each epoch is a permutation of all images. Each image goes to the bucket of its aspect ratio; when a bucket holds
    `batch_size` images, they become the next batch. Images left in a bucket at the end of an epoch wait for the next
    one. So every batch is full, and every image is used once for each epoch.

    Args:
        image_sizes: int [N, 2], (h, w) of each image, N >= 1.
        batch_size: images in a batch, B.
        seed: seed of the permutations.
        start_batch: number of the first batch.
        shards: int [N], number of the shard that holds each image, rising; by default all are in one.

    Returns:
        Endless tf.data.Dataset of int64 [B, 2]: epoch and row in the data set of each image of a batch.

    Raises:
        ValueError: there are no images, the batch size is not positive, or the first batch is negative.

    Example:
        >>> plan = planned_batches(np.array([[480, 640]] * 3), batch_size=2, seed=0)
        >>> sorted(int(row) for batch in plan.take(3) for _, row in batch)
        [0, 0, 1, 1, 2, 2]
    """
    if len(image_sizes) == 0:
        raise UserError("the data set has no images to train on; check the annotation file")
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; it must be at least 1")
    if start_batch < 0:
        raise UserError(f"start_batch is {start_batch}; it must not be negative")
    sizes = np.asarray(image_sizes)
    buckets = tf.constant(np.digitize(sizes[:, 1] / sizes[:, 0], _BUCKET_BOUNDS), tf.int32)
    shard_of = tf.constant(np.zeros(len(sizes)) if shards is None else shards, tf.int32)

    @not_converted
    def plan_epoch(state: tuple[tf.Tensor, tf.Tensor], epoch: tf.Tensor) -> tuple:
        waiting, to_skip = state
        order = _shuffled(shard_of, [seed % LARGEST_SEED, epoch])
        samples = tf.concat([waiting, tf.stack([tf.fill(tf.shape(order), epoch), order], axis=1)], axis=0)
        batches, left = _fill_buckets(tf.gather(buckets, samples[:, 1]), batch_size)
        skipped = tf.minimum(to_skip, tf.shape(batches, tf.int64)[0])
        planned = tf.ensure_shape(tf.gather(samples, batches[skipped:]), [None, batch_size, 2])
        return (tf.gather(samples, left), to_skip - skipped), planned

    epochs = tf.data.Dataset.range(np.iinfo(np.int64).max)
    start = tf.zeros([0, 2], tf.int64), tf.constant(start_batch, tf.int64)
    return epochs.scan(start, plan_epoch).unbatch()


def _shuffled(shards: tf.Tensor, seed: list) -> tf.Tensor:
    """Returns the rows of all images in random order, window after window of shards in random order: int64 [N]."""
    if len(shards) <= WINDOW:
        windows = tf.zeros_like(shards)
    else:
        count = tf.reduce_max(shards) + 1
        place = tf.random.experimental.stateless_shuffle(tf.range(count), seed)  # of each shard among the others
        rank = tf.argsort(tf.argsort(tf.gather(place, shards), stable=True))
        windows = rank // WINDOW
    draws = tf.random.stateless_uniform(tf.shape(shards), seed, 0, 2**31 - 1, tf.int32, alg="philox")
    keys = tf.cast(windows, tf.int64) * 2**31 + tf.cast(draws, tf.int64)
    return tf.cast(tf.argsort(keys, stable=True), tf.int64)


def _fill_buckets(buckets: tf.Tensor, batch_size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Puts samples into buckets, and takes out each bucket that is full.

    Args:
        buckets: int32 [n], bucket of each sample, in their order.
        batch_size: samples that fill a bucket, B.

    Returns:
        int32 [m, B], places of the samples of each batch, in the order in which the buckets became full, and int32
        [n - m * B], places of the samples that are left, in order.
    """
    by_bucket = tf.argsort(buckets, stable=True)
    sorted_buckets = tf.gather(buckets, by_bucket)
    counts = tf.math.bincount(buckets, minlength=len(_BUCKET_BOUNDS) + 1)
    rank = tf.range(tf.size(buckets)) - tf.gather(tf.cumsum(counts, exclusive=True), sorted_buckets)
    in_batch = rank < tf.gather(counts // batch_size * batch_size, sorted_buckets)
    batches = tf.reshape(by_bucket[in_batch], [-1, batch_size])
    return tf.gather(batches, tf.argsort(batches[:, -1])), tf.sort(by_bucket[~in_batch])


def aspect_ratio_batches(image_sizes: np.ndarray, batch_size: int) -> list[list[int]]:
    """Groups images of similar aspect ratios into batches; only the last batch may be smaller.

    Args:
        image_sizes: int [n, 2], (h, w) of each image.
        batch_size: images in a batch.

    Returns:
        List of batches, each a list of rows of the data set.

    Raises:
        ValueError: the batch size is not positive.

    Example:
        >>> aspect_ratio_batches(np.array([[10, 20], [20, 10], [10, 30]]), 2)
        [[1, 0], [2]]
    """
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; it must be at least 1")
    image_sizes = np.asarray(image_sizes).reshape(-1, 2)
    order = np.argsort(image_sizes[:, 1] / image_sizes[:, 0], kind="stable").tolist()
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def spread_rows(num_images: int, most: int | None = None) -> np.ndarray:
    """Returns the rows of at most `most` images, spread evenly over a data set of `num_images`, as int64 [n].

    Example:
        >>> spread_rows(10, 4).tolist()
        [0, 2, 5, 7]
    """
    count = num_images if most is None else min(most, num_images)
    return np.arange(count, dtype=np.int64) * num_images // max(count, 1)


def equal_size_batches(image_sizes: np.ndarray, batch_size: int) -> list[list[int]]:
    """Groups images of exactly the same size into batches, so that no image needs padding.

    Args:
        image_sizes: int [n, 2], (h, w) of each image.
        batch_size: the most images in a batch.

    Returns:
        List of batches, each a list of rows of the data set, ordered by image size.

    Raises:
        ValueError: the batch size is not positive.

    Example:
        >>> equal_size_batches(np.array([[10, 20], [20, 10], [10, 20], [10, 20]]), 2)
        [[0, 2], [3], [1]]
    """
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; it must be at least 1")
    rows: dict[tuple[int, ...], list[int]] = {}
    for row, size in enumerate(np.asarray(image_sizes).reshape(-1, 2).tolist()):
        rows.setdefault(tuple(size), []).append(row)
    return [
        same[start : start + batch_size]
        for _, same in sorted(rows.items())
        for start in range(0, len(same), batch_size)
    ]
