"""Keeps maps and proposals of the frozen part on disk, so that box and mask stage do not compute them every epoch.

A cache belongs to one set of frozen weights, one data set and one way to augment it: a hash of these names its folder.
It holds one file for each image and cached epoch. Later epochs repeat the augmentation of the cached ones in turn.
`cache_files` describes the files.

Shapes: B batch, h w C of a level, R proposals, G padded ground truths, S mask side.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from keras_mrcnn.data.augmentation_samples import Sampling
from keras_mrcnn.data.pipeline import shared_batches, single_samples
from keras_mrcnn.data.prepared import PreparedDataset
from keras_mrcnn.data.sharing import WHOLE, Share
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.ops.images import SIZE_MULTIPLE
from keras_mrcnn.training.cache_files import (
    SUFFIX,
    CacheError,
    check_file,
    is_whole,
    make_folder,
    read_tensors,
    write_tensors,
)
from keras_mrcnn.training.frozen_features import compute_features_and_proposals

FIELD_BYTES, BLOCK_BYTES = 128, 4096  # most bytes of a field beside its numbers; unit in which a disk allocates
SPARE = 1.02  # room for what the file system itself needs


class FeatureCache:
    """Keeps the maps and proposals of single images in files.

    A sample is named by its place: epoch and row in the data set.

    Args:
        root: folder of all caches; that of this one is root/`key`.
        key: hash of everything that the content depends on, see `cache_key`.
        model: `MaskRCNN`.
        data: `PreparedDataset`.
        sampling: `Sampling` with masks: how images become samples.
        epochs: number of cached epochs; epoch e reads the files of epoch e % epochs.
        dtype: dtype of the maps: "float32", "bfloat16" or "float16".
    """

    def __init__(
        self,
        root: str | Path,
        key: str,
        model: MaskRCNN,
        data: PreparedDataset,
        sampling: Sampling,
        *,
        epochs: int,
        dtype: str,
    ):
        self.folder = Path(root) / key
        self.model, self.data, self.sampling = model, data, sampling
        self.epochs, self.dtype = epochs, tf.as_dtype(dtype)
        proposals, mask_size = model.proposals.post_nms_train, data.mask_size
        # The fields of a batch that are kept; seeds belong to the epoch and are drawn again.
        self.ground_truth = {
            "image_sizes": tf.TensorSpec([2], tf.int32),
            "image_ids": tf.TensorSpec([], tf.int64),
            "original_sizes": tf.TensorSpec([2], tf.int32),
            "gt_boxes": tf.TensorSpec([None, 4], tf.float32),
            "gt_labels": tf.TensorSpec([None], tf.int32),
            "gt_masks": tf.TensorSpec([None, mask_size, mask_size], tf.uint8),
            "dropped": tf.TensorSpec([], tf.int32),
        }
        self.maps = tuple(f"features_{level}" for level in range(len(model.box_pool.strides)))
        self.fields = {
            **self.ground_truth,
            "proposals": tf.TensorSpec([proposals, 4], tf.float32),
            "proposal_scores": tf.TensorSpec([proposals], tf.float32),
            "proposal_count": tf.TensorSpec([], tf.int32),
            **dict.fromkeys(self.maps, tf.TensorSpec([None, None, model.roi_channels], self.dtype)),
        }
        self._dtypes = [spec.dtype for spec in self.fields.values()]

    def path(self, place: Sequence[int]) -> Path:
        """Returns the path of the file for the place of a sample in any epoch."""
        epoch, row = (int(number) for number in place)
        return self.folder / f"{row:07d}-{epoch % self.epochs}{SUFFIX}"

    def needed(self, plan: tf.data.Dataset, num_batches: int) -> np.ndarray:
        """Returns the places of the cached samples for the first batches of a plan, each once: int64 [n, 2]."""
        batches = [batch % [self.epochs, 2**62] for batch in plan.take(num_batches).as_numpy_iterator()]
        return np.unique(np.concatenate([np.zeros([0, 2], np.int64), *batches]), axis=0)

    def missing(self, places: np.ndarray) -> np.ndarray:
        """Returns the places whose files are missing or incomplete."""
        return places[[not is_whole(self.path(place), len(self.fields)) for place in places]]

    def size(self, places: np.ndarray) -> int:
        """Returns the most bytes that a folder with the files of the samples can take."""
        object_bytes = self.data.mask_size**2 + 20
        fixed = FIELD_BYTES * len(self.fields) + 20 * self.model.proposals.post_nms_train
        counts = self.data.index["num_objects"]

        def describe(place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            drawn = self.sampling.draw(self.data, place)
            pasted = tf.where(drawn.pastes, tf.gather(counts, drawn.paste_row), 0)
            return self.sampling.size(self.data, place), tf.gather(counts, drawn.row) + pasted

        total = BLOCK_BYTES if len(places) else 0  # for the mark of the folder
        for size, objects in tf.data.Dataset.from_tensor_slices(places).map(describe).as_numpy_iterator():
            content = self._map_bytes(size) + max(int(objects), 1) * object_bytes + fixed
            total += -(-content // BLOCK_BYTES) * BLOCK_BYTES
        return total

    def check_room(self, places: np.ndarray) -> tuple[int, int]:
        """Returns the bytes that the samples need and those that are free. Raises `CacheError` if they do not fit."""
        make_folder(self.folder)
        need, free = int(self.size(places) * SPARE), shutil.disk_usage(self.folder).free
        if need > free:
            raise CacheError(
                f"{self.folder}: the cached features need {need / 1e9:.2f} GB, {free / 1e9:.2f} GB are free; make "
                "room, name another disk with train.cache_folder, choose fewer train.cache_epochs, or set "
                "train.cache_features=off"
            )
        return need, free

    def fill(self, places: np.ndarray, progress: bool = True) -> None:
        """Computes and writes the missing files of the samples. After an interruption, the next call continues.

        Raises:
            CacheError: a file cannot be written.
        """
        make_folder(self.folder)
        missing = self.missing(places)
        if not len(missing):
            return
        batches = single_samples(self.data, missing, self.sampling)
        step = tf.function(self._compute, autograph=False, input_signature=[batches.element_spec])
        bar = tqdm(zip(missing, batches), "cache features", len(missing), unit="image", leave=False,
                   disable=None if progress else True)  # fmt: skip
        for place, batch in bar:
            write_tensors(self.path(place), step(batch))

    def dataset(
        self,
        plan: tf.data.Dataset,
        batch_size: int,
        with_masks: bool = True,
        share: Share = WHOLE,
    ) -> tf.data.Dataset:
        """Returns the stream of `training_dataset`, with maps and proposals instead of images.

        Args:
            plan: the batches, see `planned_batches`.
            batch_size: images in a batch, B.
            with_masks: whether batches have gt_masks.
            share: part of each batch to return, as for `training_dataset`.

        Returns:
            tf.data.Dataset of dicts: the fields of a training batch without "images", and features_0, features_1, ...
            [B, h, w, C], proposals float32 [B, R, 4], proposal_scores float32 [B, R], proposal_count int32 [B].
            Reading a damaged file raises tf.errors.OpError; `check` says which one it is.
        """

        def read(place: tf.Tensor) -> dict[str, tf.Tensor]:
            epoch, row = tf.as_string(place[0] % self.epochs), tf.strings.as_string(place[1], width=7, fill="0")
            path = tf.strings.join([f"{self.folder}/", row, "-", epoch, SUFFIX])
            values = zip(self.fields.items(), read_tensors(path, self._dtypes))
            sample = {name: tf.ensure_shape(value, spec.shape) for (name, spec), value in values}
            if not with_masks:
                del sample["gt_masks"]
            return {**sample, "seeds": self.sampling.draw(self.data, place).seeds}

        return shared_batches(
            plan,
            batch_size,
            make=read,
            size=lambda place: self.sampling.size(self.data, place % tf.constant([self.epochs, 2**62], tf.int64)),
            strides=dict(zip(self.maps, self.model.box_pool.strides)),
            share=share,
            prefetched=1,  # maps are large: one batch is in training and one ready
        )

    def check(self, places: Iterable[Sequence[int]]) -> None:
        """Reads the files of the samples. Raises `CacheError` for the first that is missing or damaged."""
        for place in places:
            check_file(self.path(place), self._dtypes)

    def _map_bytes(self, size: np.ndarray) -> int:
        padded = -(-size // SIZE_MULTIPLE) * SIZE_MULTIPLE
        cells = sum(int((-(-padded // stride)).prod()) for stride in self.model.box_pool.strides)
        return cells * self.model.roi_channels * self.dtype.size

    def _compute(self, batch: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        """Computes the fields of a batch of one image, in the order of `fields`."""
        features, proposals = compute_features_and_proposals(self.model, batch["images"], batch["image_sizes"])
        values = [*(batch[name] for name in self.ground_truth), *proposals]
        return [value[0] for value in [*values, *(tf.cast(fmap, self.dtype) for fmap in features)]]
