"""Keeps maps and proposals of the frozen part on disk, so that box and mask stage do not compute them every epoch.

A cache belongs to one set of frozen weights, one data set and one way to augment it: a hash of these names its folder.
It holds one file for each image and cached epoch. Later epochs repeat the augmentation of the cached ones in turn.
`cache_files` describes the files.

Shapes: B batch, h w C of a level, R proposals, G padded ground truths, S mask side.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from keras_mrcnn.data.augmentation import Augmentation
from keras_mrcnn.data.augmentation_samples import sample_size
from keras_mrcnn.data.batching import BatchPlan, PlannedSample, draw_sample
from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.data.loading_guard import LoadingGuard
from keras_mrcnn.data.pipeline import padded_batches, single_samples
from keras_mrcnn.data.sharing import WHOLE, Share, pad_pieces, padded_sizes
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.ops.images import SIZE_MULTIPLE
from keras_mrcnn.training.cache_files import SUFFIX, CacheError, is_whole, make_folder, read_arrays, write_arrays
from keras_mrcnn.training.frozen_features import compute_features_and_proposals

FIELD_BYTES, BLOCK_BYTES = 384, 4096  # most bytes of the header of a field; unit in which a disk allocates
SPARE = 1.02  # room for what the file system itself needs
READERS = 4


class FeatureCache:
    """Keeps the maps and proposals of single images in files.

    Args:
        root: folder of all caches; that of this one is root/`key`.
        key: hash of everything that the content depends on, see `cache_key`.
        model: `MaskRCNN`.
        data: `CocoDataset`.
        sample_settings: keyword arguments of `single_samples` without `seed`: how images are resized and augmented.
        seed: seed of the run.
        epochs: number of cached epochs; epoch e reads the files of epoch e % epochs.
        dtype: dtype of the maps: "float32", "bfloat16" or "float16".
    """

    def __init__(
        self,
        root: str | Path,
        key: str,
        model: MaskRCNN,
        data: CocoDataset,
        sample_settings: Mapping[str, Any],
        *,
        seed: int,
        epochs: int,
        dtype: str,
    ):
        self.folder = Path(root) / key
        self.model, self.data, self.sample_settings = model, data, sample_settings
        self.seed, self.epochs, self.dtype = seed, epochs, tf.as_dtype(dtype)
        proposals, mask_size = model.proposals.post_nms_train, sample_settings["mask_size"]
        # The fields of a batch that are kept; seeds belong to the epoch and are drawn again.
        self.ground_truth = {
            "image_sizes": (tf.int32, [2]),
            "image_ids": (tf.int64, []),
            "original_sizes": (tf.int32, [2]),
            "gt_boxes": (tf.float32, [None, 4]),
            "gt_labels": (tf.int32, [None]),
            "gt_masks": (tf.uint8, [None, mask_size, mask_size]),
            "dropped": (tf.int32, []),
        }
        # NumPy has no bfloat16.
        stored = tf.uint16 if self.dtype == tf.bfloat16 else self.dtype
        self.maps = tuple(f"features_{level}" for level in range(len(model.box_pool.strides)))
        self.fields = {
            **self.ground_truth,
            "proposals": (tf.float32, [proposals, 4]),
            "proposal_scores": (tf.float32, [proposals]),
            "proposal_count": (tf.int32, []),
            **dict.fromkeys(self.maps, (stored, [None, None, model.roi_channels])),
        }

    def path(self, sample: PlannedSample) -> Path:
        """Returns the path of the file for a `PlannedSample` of any epoch."""
        return self.folder / f"{sample.index:07d}-{sample.epoch % self.epochs}{SUFFIX}"

    def needed(self, plan: BatchPlan, count: int) -> list[PlannedSample]:
        """Returns the samples for the first `count` positions of a plan, each once."""
        samples = (plan.sample(position) for position in range(count))
        return sorted({self._cached_sample(sample) for sample in samples})

    def missing(self, samples: Sequence[PlannedSample]) -> list[PlannedSample]:
        """Returns the samples whose files are missing or incomplete."""
        return [sample for sample in samples if not is_whole(self.path(sample), self.fields)]

    def size(self, samples: Sequence[PlannedSample]) -> int:
        """Returns the most bytes that the files of the samples can take."""
        settings = dict(self.sample_settings)
        min_size, max_size, mask_size = (settings.pop(name) for name in ("min_size", "max_size", "mask_size"))
        min_sizes, augmentation = (min_size,) if isinstance(min_size, int) else min_size, Augmentation(**settings)
        object_bytes, fixed = mask_size**2 + 20, FIELD_BYTES * len(self.fields)
        fixed += 20 * self.model.proposals.post_nms_train
        total = 0
        for sample in samples:
            drawn = augmentation.draw(self.seed, sample, min_sizes, len(self.data))
            size = np.array(sample_size(self.data, drawn, max_size, augmentation.crop))
            rows = [sample.index] if drawn.pasted is None else [sample.index, drawn.pasted.index]
            objects = sum(len(self.data.annotations(self.data.image_ids[row])) for row in rows)
            content = self._map_bytes(size) + max(objects, 1) * object_bytes + fixed
            total += -(-content // BLOCK_BYTES) * BLOCK_BYTES
        return total

    def check_room(self, samples: Sequence[PlannedSample]) -> tuple[int, int]:
        """Returns the bytes that the samples need and those that are free. Raises `CacheError` if they do not fit."""
        make_folder(self.folder)
        need, free = int(self.size(samples) * SPARE), shutil.disk_usage(self.folder).free
        if need > free:
            raise CacheError(
                f"{self.folder}: the cached features need {need / 1e9:.2f} GB, {free / 1e9:.2f} GB are free; make "
                "room, name another disk with train.cache_folder, choose fewer train.cache_epochs, or set "
                "train.cache_features=off"
            )
        return need, free

    def fill(self, samples: Sequence[PlannedSample], progress: bool = True) -> None:
        """Computes and writes the missing files of the samples. After an interruption, the next call continues.

        Raises:
            CacheError: a file cannot be written.
        """
        make_folder(self.folder)
        missing = self.missing(samples)
        if not missing:
            return
        samples_to_fill = single_samples(self.data, missing, seed=self.seed, **self.sample_settings)
        images = padded_batches(samples_to_fill, 1, drop_remainder=False)
        step = tf.function(self._compute, autograph=False, input_signature=[images.element_spec])
        bar = tqdm(zip(missing, images), "cache features", len(missing), unit="image", leave=False,
                   disable=None if progress else True)  # fmt: skip
        for sample, batch in bar:
            write_arrays(self.path(sample), {name: value.numpy() for name, value in step(batch).items()})

    def dataset(
        self, plan: BatchPlan, batch_size: int, start_batch: int = 0, with_masks: bool = True, share: Share = WHOLE
    ) -> tf.data.Dataset:
        """Returns the endless stream of `training_dataset`, with maps and proposals instead of images.

        Args:
            plan: `BatchPlan` of the run.
            batch_size: images in a batch, B.
            start_batch: number of the first batch.
            with_masks: whether batches have gt_masks.
            share: part of each batch to return, as for `training_dataset`.

        Returns:
            tf.data.Dataset of dicts: the fields of a training batch without "images", and features_0, features_1, ...
            [B, h, w, C], proposals float32 [B, R, 4], proposal_scores float32 [B, R], proposal_count int32 [B].
            Reading it raises tf.errors.OpError with the sentence of a `CacheError`, see `cache_reading_error`.
        """
        fields = {name: field for name, field in self.fields.items() if name != "gt_masks" or with_masks}
        piece = share.piece_size(batch_size)

        def load(position):
            sample = plan.sample(share.place(int(position), batch_size))
            return (*read_arrays(self.path(sample), fields), draw_sample(self.seed, sample).seeds)

        types = {**fields, "seeds": (tf.int32, [2])}
        guarded = LoadingGuard(load, lambda: tuple(_smallest(*field) for field in types.values()))

        def read(position):
            values = tf.numpy_function(guarded, [position], [dtype for dtype, _ in types.values()])
            return {name: self._restore(name, value, types[name][1]) for name, value in zip(types, values)}

        positions = tf.data.Dataset.range(start_batch * piece * share.devices, np.iinfo(np.int64).max)
        samples = positions.map(read, num_parallel_calls=READERS, deterministic=True)
        # Maps are large: one batch is in training and one ready.
        batches = padded_batches(samples, piece, drop_remainder=True, prefetched=1)
        if piece == batch_size:
            return batches
        settings = {name: value for name, value in self.sample_settings.items() if name != "mask_size"}
        sizes = padded_sizes(
            self.data, lambda place: self._cached_sample(plan.sample(place)), batch_size, seed=self.seed, **settings
        )
        return pad_pieces(batches, sizes, share, start_batch, dict(zip(self.maps, self.model.box_pool.strides)))

    def _cached_sample(self, sample):
        """Returns the cached sample for a `PlannedSample` of any epoch."""
        return PlannedSample(sample.epoch % self.epochs, sample.index)

    def _map_bytes(self, size):
        padded = -(-size // SIZE_MULTIPLE) * SIZE_MULTIPLE
        cells = sum(int((-(-padded // stride)).prod()) for stride in self.model.box_pool.strides)
        return cells * self.model.roi_channels * self.dtype.size

    def _compute(self, batch):
        """Computes the fields of a batch of one image."""
        features, proposals = compute_features_and_proposals(self.model, batch["images"], batch["image_sizes"])
        maps = [tf.cast(fmap, self.dtype) for fmap in features]
        if self.dtype == tf.bfloat16:
            maps = [tf.bitcast(fmap, tf.uint16) for fmap in maps]
        values = [*(batch[name] for name in self.ground_truth), *proposals, *maps]
        return {name: value[0] for name, value in zip(self.fields, values)}

    def _restore(self, name, value, shape):
        value = tf.ensure_shape(value, shape)
        return tf.bitcast(value, self.dtype) if name in self.maps and value.dtype != self.dtype else value


def _smallest(dtype, shape):
    """Returns the smallest array of a field, for a pipeline that is being shut down."""
    return np.zeros([side or 1 for side in shape], dtype.as_numpy_dtype)
