"""Makes the data on which the losses of a stage are measured while it trains."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.batching import PlannedSample, aspect_ratio_batches
from keras_mrcnn.data.coco import DEFAULT_MASK_SIZE, CocoDataset
from keras_mrcnn.data.pipeline import padded_batches, single_samples
from keras_mrcnn.data.sharing import WHOLE, Share, pad_pieces, padded_sizes


def validation_dataset(
    dataset: CocoDataset,
    *,
    batch_size: int,
    min_size: int,
    max_size: int,
    mask_size: int = DEFAULT_MASK_SIZE,
    images: int | None = None,
    share: Share = WHOLE,
) -> tf.data.Dataset:
    """Makes batches for the `validation_data` of a stage's `fit`, the same every time, without augmentation.

    Args:
        dataset: images and annotations.
        batch_size: images in a batch, B; the last batch may have fewer.
        min_size: short side after the resize, pixels.
        max_size: limit of the long side, pixels.
        mask_size: side of the compact masks, S; 0 for none, which box and RPN stage do not need.
        images: number of images, spread evenly over the data set; by default all. If there are fewer, some repeat.
        share: part of each batch to return, as for `training_dataset`; then `images` must be a multiple of
            `batch_size`.

    Returns:
        finite tf.data.Dataset of batches as `training_dataset` yields them. Similar aspect ratios share a batch.

    Raises:
        ValueError: a setting is out of its range, or the data set has no images.

    Example:
        >>> validation = validation_dataset(CocoDataset("val.json", "val"), batch_size=2, min_size=800, max_size=1333)
        >>> history = stage.fit(train, steps_per_epoch=100, epochs=12, validation_data=validation)
    """
    if not len(dataset) or (images is not None and images < 1):
        raise UserError(f"validation needs images: the data set has {len(dataset)}, images is {images}")
    count = len(dataset) if images is None else images
    rows = np.arange(count) * len(dataset) // count
    batches = aspect_ratio_batches(np.asarray(dataset.image_sizes)[rows], batch_size)
    order = [int(rows[place]) for batch in batches for place in batch]

    def sample_at(place: int) -> PlannedSample:
        return PlannedSample(0, order[place])

    settings, piece = {"min_size": min_size, "max_size": max_size, "seed": 0, "flip": 0.0}, share.piece_size(batch_size)
    own = [sample_at(share.place(number, batch_size)) for number in range(count // share.count)]
    samples = single_samples(dataset, own, mask_size=mask_size, **settings)
    pieces = padded_batches(samples, piece, drop_remainder=False)
    if piece == batch_size:
        return pieces.apply(tf.data.experimental.assert_cardinality(len(batches)))
    return pad_pieces(pieces, padded_sizes(dataset, sample_at, batch_size, **settings), share, 0, {"images": 1})
