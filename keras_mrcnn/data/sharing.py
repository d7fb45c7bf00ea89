"""Divides batches among several processes that train together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.augmentation import Augmentation
from keras_mrcnn.data.augmentation_samples import sample_size
from keras_mrcnn.data.batching import PlannedSample
from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.data.loading_guard import LoadingGuard
from keras_mrcnn.ops.images import SIZE_MULTIPLE


class Share(NamedTuple):
    """The share of every batch that one of several processes reads: a range of its images, in a piece for each device.

    Attributes:
        index: number of this process, from 0.
        count: number of processes.
        devices: number of devices of each process.

    Example:
        >>> share = Share(index=1, count=2)
        >>> [share.place(number, batch_size=4) for number in range(4)]
        [2, 3, 6, 7]
    """

    index: int = 0
    count: int = 1
    devices: int = 1

    def piece_size(self, batch_size: int) -> int:
        """Returns the number of images of a batch for one device.

        Args:
            batch_size: images in a batch, of all processes together.

        Raises:
            ValueError: the batch cannot be divided evenly.
        """
        pieces = self.count * self.devices
        if batch_size % pieces:
            raise UserError(
                f"data.batch_size {batch_size} cannot be shared by {pieces} devices; use a multiple of {pieces}, or "
                "hide devices with CUDA_VISIBLE_DEVICES"
            )
        return batch_size // pieces

    def place(self, number: int, batch_size: int) -> int:
        """Returns the position in the stream of all samples of an image that this process reads.

        Args:
            number: number of the image among those that this process reads, from 0.
            batch_size: images in a batch, of all processes together.
        """
        own = batch_size // self.count
        return number // own * batch_size + self.index * own + number % own


WHOLE = Share()


def padded_sizes(
    dataset: CocoDataset,
    sample_at: Callable[[int], PlannedSample],
    batch_size: int,
    *,
    min_size: int | Sequence[int],
    max_size: int,
    seed: int,
    **augmentation: Any,
) -> Callable[[int], np.ndarray]:
    """Returns a function that gives the padded size of a batch before its images are decoded.

    A process that reads only a part of a batch must pad it to the size of the whole batch, because the places of
    anchors and the statistics of normalisation layers depend on that size.

    Args:
        dataset: images and annotations.
        sample_at: function that returns the sample at a position of the stream; batch k begins at k * batch_size.
        batch_size: images in a batch, of all processes together.
        min_size, max_size, seed, **augmentation: as for `training_dataset`.

    Returns:
        Function that takes the number of a batch and returns int32 [2], (h, w), multiples of 32.
    """
    settings = Augmentation(**augmentation)
    min_sizes = (min_size,) if isinstance(min_size, int) else tuple(min_size)

    # Cached, because each piece of a batch needs its size, and all at about the same time.
    @lru_cache(maxsize=64)
    def size_of(batch: int) -> np.ndarray:
        places = range(batch * batch_size, (batch + 1) * batch_size)
        drawn_samples = [settings.draw(seed, sample_at(place), min_sizes, len(dataset)) for place in places]
        largest = np.max([sample_size(dataset, drawn, max_size, settings.crop) for drawn in drawn_samples], axis=0)
        return (-(-largest // SIZE_MULTIPLE) * SIZE_MULTIPLE).astype(np.int32)

    return size_of


def pad_pieces(
    pieces: tf.data.Dataset,
    size_of: Callable[[int], np.ndarray],
    share: Share,
    start_batch: int,
    strides: Mapping[str, int],
) -> tf.data.Dataset:
    """Pads the pieces of batches to the sizes of the whole batches.

    Args:
        pieces: tf.data.Dataset of dicts.
        size_of: function that returns the padded size of batch k, see `padded_sizes`.
        share: share of the process that reads these pieces.
        start_batch: number of the batch of the first piece.
        strides: for each entry to pad, [B, H, W, C], the pixels of the image for each of its cells along a side.

    Returns:
        tf.data.Dataset of the padded pieces.
    """
    guarded = LoadingGuard(lambda number: size_of(int(number) // share.devices), lambda: np.zeros(2, np.int32))

    def pad(number: tf.Tensor, piece: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        size = tf.ensure_shape(tf.numpy_function(guarded, [number], tf.int32), [2])
        padded = dict(piece)
        for name, stride in strides.items():
            missing = tf.maximum(-(-size // stride) - tf.shape(piece[name])[1:3], 0)
            padded[name] = tf.pad(piece[name], [[0, 0], [0, missing[0]], [0, missing[1]], [0, 0]])
        return padded

    numbers = tf.data.Dataset.range(start_batch * share.devices, np.iinfo(np.int64).max)
    return tf.data.Dataset.zip((numbers, pieces)).map(pad).prefetch(1)
