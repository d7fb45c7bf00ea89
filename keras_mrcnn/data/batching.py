"""Which image goes into which batch: planned in NumPy, before anything is decoded.

Images of like aspect ratio share a batch, so that little of it is padding. The plan of a training run is an endless,
seeded stream: it can be started at any batch, and gives from there on what it would have given anyway.
"""

from __future__ import annotations

import bisect
import itertools
import threading
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from keras_mrcnn.base.errors import UserError

# Bounds, as width / height: upright and lying images apart, and the nearly square apart from the long.
_BUCKET_BOUNDS = (0.8, 1.0, 1.25)


class PlannedSample(NamedTuple):
    """One image in the stream: the epoch that it was drawn in, and its row in the data set."""

    epoch: int
    index: int


class BatchPlan:
    """The endless stream of training batches.

    Each epoch is a permutation of all images. They are dealt to the bucket of their aspect ratio; whenever a bucket
    holds `batch_size` images, these are the next batch. What is left in a bucket when the epoch ends waits for the
    next one. So every batch is full, and each epoch's images are all used, once, in the order of the permutation.

    Args:
        image_sizes: int [n, 2], (h, w) of each image, n >= 1.
        batch_size: images in a batch.
        seed: of the permutations.

    Raises:
        ValueError: there are no images, or the batch size is not positive.

    Example:
        >>> plan = BatchPlan(np.array([[480, 640]] * 3), batch_size=2, seed=0)
        >>> stream = plan.batches()
        >>> sorted(sample.index for _ in range(3) for sample in next(stream))
        [0, 0, 1, 1, 2, 2]
    """

    def __init__(self, image_sizes: np.ndarray, batch_size: int, seed: int):
        image_sizes = np.asarray(image_sizes)
        if len(image_sizes) == 0:
            raise UserError("the data set has no images to train on; check the annotation file")
        if batch_size < 1:
            raise UserError(f"batch_size is {batch_size}; it must be at least 1")
        self.batch_size = batch_size
        self.seed = seed
        self._buckets = np.digitize(image_sizes[:, 1] / image_sizes[:, 0], _BUCKET_BOUNDS).tolist()
        self._waiting: dict[int, list[tuple[int, int]]] = {}
        self._chunks: list[np.ndarray] = []  # int32 [m, 2], (epoch, index): what became full while an epoch was dealt
        self._starts = [0]  # place of each chunk's first sample, and of the next chunk's
        self._lock = threading.Lock()

    def batches(self, start_batch: int = 0) -> Iterator[list[PlannedSample]]:
        """Gives the batches from number `start_batch` on, without end."""
        for first in itertools.count(start_batch * self.batch_size, self.batch_size):
            yield [self.sample(position) for position in range(first, first + self.batch_size)]

    def sample(self, position: int) -> PlannedSample:
        """The image at a place of the stream; batch k is the places k * batch_size and on. Safe to call from threads.

        Args:
            position: place in the stream, from 0.
        """
        with self._lock:
            while position >= self._starts[-1]:
                self._plan_epoch()
        chunk = bisect.bisect_right(self._starts, position) - 1
        epoch, index = self._chunks[chunk][position - self._starts[chunk]]
        return PlannedSample(int(epoch), int(index))

    def _plan_epoch(self) -> None:
        """Deals one more epoch to the buckets and keeps the batches that become full."""
        epoch = len(self._chunks)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self._buckets))
        full: list[tuple[int, int]] = []
        for index in order.tolist():
            bucket = self._waiting.setdefault(self._buckets[index], [])
            bucket.append((epoch, index))
            if len(bucket) == self.batch_size:
                full.extend(bucket)
                bucket.clear()
        self._chunks.append(np.array(full, np.int32).reshape(-1, 2))
        self._starts.append(self._starts[-1] + len(full))


def aspect_ratio_batches(image_sizes: np.ndarray, batch_size: int) -> list[list[int]]:
    """Puts every image into a batch with others of like aspect ratio; only the last batch may be partial.

    Args:
        image_sizes: int [n, 2], (h, w) of each image.
        batch_size: images in a batch.

    Returns:
        rows of the data set, in batches.

    Example:
        >>> aspect_ratio_batches(np.array([[10, 20], [20, 10], [10, 30]]), 2)
        [[1, 0], [2]]
    """
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; it must be at least 1")
    image_sizes = np.asarray(image_sizes).reshape(-1, 2)
    order = np.argsort(image_sizes[:, 1] / image_sizes[:, 0], kind="stable").tolist()
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def equal_size_batches(image_sizes: np.ndarray, batch_size: int) -> list[list[int]]:
    """Puts every image into a batch with others of exactly its size, so that none is padded for another.

    Args:
        image_sizes: int [n, 2], (h, w) of each image.
        batch_size: the most images in a batch.

    Returns:
        rows of the data set, in batches, ordered by size.

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


class SampleDraws(NamedTuple):
    """The random choices for one image in one epoch; every number is in [0, 1).

    Attributes:
        flip: to compare with the probability of a flip.
        jitter: place in the range of scales.
        size: place in the list of sizes to choose from.
        seeds: int32 [2], for stateless random functions further on.
        angle: place in the range of angles.
        place: (x, y), place of a crop.
        colours: places in the ranges of brightness, contrast and saturation.
        paste: to compare with the probability of pasting; of the pasted image, place in the list of images.
    """

    flip: float
    jitter: float
    size: float
    seeds: np.ndarray
    angle: float
    place: tuple[float, float]
    colours: tuple[float, float, float]
    paste: float


def draw_sample(seed: int, sample: PlannedSample, pasted: bool = False) -> SampleDraws:
    """Draws for one image in one epoch: a function of its arguments alone, whatever the batch or the worker.

    Args:
        seed: of the run.
        sample: the image and the epoch.
        pasted: whether the draws are for the image that is pasted onto it.
    """
    generator = np.random.default_rng([seed, sample.epoch, sample.index, *([1] if pasted else [])])
    flip, jitter, size = generator.random(3).tolist()
    seeds = generator.integers(0, np.iinfo(np.int32).max, 2, dtype=np.int32)
    angle, x, y, *colours, paste = generator.random(7).tolist()
    return SampleDraws(flip, jitter, size, seeds, angle, (x, y), tuple(colours), paste)
