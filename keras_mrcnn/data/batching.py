"""Plans which images go into which batch, in NumPy, before any image is decoded.

Images of similar aspect ratios share a batch, so that little of it is padding. The plan of a training run is an
endless, seeded stream. It can start at any batch, and then gives the same batches as a stream from the beginning.
"""

from __future__ import annotations

import bisect
import itertools
import threading
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from keras_mrcnn.base.errors import UserError

# Bounds of width / height, which separate portrait from landscape and nearly square from long images.
_BUCKET_BOUNDS = (0.8, 1.0, 1.25)


class PlannedSample(NamedTuple):
    """One image in the stream of samples: its epoch, and its row in the data set."""

    epoch: int
    index: int


class BatchPlan:
    """The endless stream of training batches.

    Each epoch is a permutation of all images. Each image goes to the bucket of its aspect ratio; when a bucket holds
    `batch_size` images, they become the next batch. Images left in a bucket at the end of an epoch wait for the next
    one. So every batch is full, and every image is used once for each epoch.

    Args:
        image_sizes: int [n, 2], (h, w) of each image, n >= 1.
        batch_size: images in a batch.
        seed: seed of the permutations.

    Raises:
        ValueError: there are no images, or the batch size is not positive.

    Example:
        >>> plan = BatchPlan(np.array([[480, 640]] * 3), batch_size=2, seed=0)
        >>> stream = plan.batches()
        >>> sorted(sample.index for _ in range(3) for sample in next(stream))
        [0, 0, 1, 1, 2, 2]
    """

    def __init__(self, image_sizes: np.ndarray, batch_size: int, seed: int) -> None:
        image_sizes = np.asarray(image_sizes)
        if len(image_sizes) == 0:
            raise UserError("the data set has no images to train on; check the annotation file")
        if batch_size < 1:
            raise UserError(f"batch_size is {batch_size}; it must be at least 1")
        self.batch_size = batch_size
        self.seed = seed
        self._buckets = np.digitize(image_sizes[:, 1] / image_sizes[:, 0], _BUCKET_BOUNDS).tolist()
        self._waiting: dict[int, list[tuple[int, int]]] = {}
        self._chunks: list[np.ndarray] = []  # int32 [m, 2], (epoch, index): full batches of each planned epoch
        self._starts = [0]  # position of each chunk's first sample, and of the next chunk's
        self._lock = threading.Lock()

    def batches(self, start_batch: int = 0) -> Iterator[list[PlannedSample]]:
        """Gives the batches from number `start_batch` on, endlessly."""
        for first in itertools.count(start_batch * self.batch_size, self.batch_size):
            yield [self.sample(position) for position in range(first, first + self.batch_size)]

    def sample(self, position: int) -> PlannedSample:
        """Returns the sample at a position of the stream; safe to call from several threads.

        Args:
            position: position in the stream, from 0. Batch k begins at k * batch_size.
        """
        with self._lock:
            while position >= self._starts[-1]:
                self._plan_epoch()
        chunk = bisect.bisect_right(self._starts, position) - 1
        epoch, index = self._chunks[chunk][position - self._starts[chunk]]
        return PlannedSample(int(epoch), int(index))

    def _plan_epoch(self) -> None:
        """Puts the images of one more epoch into the buckets, and keeps the batches that become full."""
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


class SampleDraws(NamedTuple):
    """Random numbers for one image in one epoch; each is in [0, 1) except the seeds.

    Attributes:
        flip: number to compare with the probability of a flip.
        jitter: position in the range of scales.
        size: position in the list of sizes.
        seeds: int32 [2], seeds of later stateless random functions.
        angle: position in the range of angles.
        place: (x, y), place of a crop.
        colours: positions in the ranges of brightness, contrast and saturation.
        paste: number to compare with the probability of pasting; for a pasted image, its position in the list of
            images.
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
    """Draws the random numbers for one image in one epoch; they depend on the arguments alone.

    Args:
        seed: seed of the run.
        sample: the image and the epoch.
        pasted: whether the numbers are for the image that is pasted onto this one.
    """
    generator = np.random.default_rng([seed, sample.epoch, sample.index, *([1] if pasted else [])])
    flip, jitter, size = generator.random(3).tolist()
    seeds = generator.integers(0, np.iinfo(np.int32).max, 2, dtype=np.int32)
    angle, x, y, *colours, paste = generator.random(7).tolist()
    return SampleDraws(flip, jitter, size, seeds, angle, (x, y), tuple(colours), paste)
