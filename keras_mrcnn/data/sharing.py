"""Divides batches among several processes that train together."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from keras_mrcnn.base.errors import UserError


class Share(NamedTuple):
    """The share of every batch that one of several processes reads: a range of its images, in a piece for each device.

    Attributes:
        index: number of this process, from 0.
        count: number of processes.
        devices: number of devices of each process.

    Example:
        >>> share = Share(index=1, count=2)
        >>> share.piece_size(batch_size=4), share.of(tf.constant([7, 8, 9, 10])).numpy().tolist()
        (2, [9, 10])
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

    def of(self, batch: tf.Tensor) -> tf.Tensor:
        """Returns the rows of a batch that this process reads.

        Args:
            batch: [B, ...], where B is a multiple of `count`.
        """
        own = tf.shape(batch)[0] // self.count
        return batch[self.index * own : (self.index + 1) * own]


WHOLE = Share()
