"""Makes the batches of each stage, from images or from the feature cache."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import tensorflow as tf

from keras_mrcnn.config import Config
from keras_mrcnn.data.augmentation_samples import Sampling
from keras_mrcnn.data.batching import planned_batches
from keras_mrcnn.data.pipeline import sampled_batches, validation_dataset
from keras_mrcnn.data.prepared import PreparedDataset
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.training.cache_files import CacheError, remove_folders
from keras_mrcnn.training.cache_key import cache_key
from keras_mrcnn.training.distribution import Workers
from keras_mrcnn.training.feature_cache import FeatureCache
from keras_mrcnn.training.stage_lengths import steps_per_epoch

CACHED_STAGES = ("box", "mask")
MASK_STAGES = ("mask", "joint")
# What TensorFlow raises if it reads a file that is missing, cut off or damaged.
DAMAGE = (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError, tf.errors.OutOfRangeError)


class StageBatches:
    """Makes the batches of each stage, and caches the features of the frozen part where that saves work.

    Args:
        config: `Config`.
        data: `PreparedDataset` to train on.
        run_folder: folder of the cache, unless `train.cache_folder` names another place.
        say: function that prints a message to the user.
        progress: whether to show progress bars.
        workers: `Workers` that train together; by default only this process, on the devices of the current strategy.
        val_data: `PreparedDataset` to validate on, or None.
    """

    def __init__(
        self,
        config: Config,
        data: PreparedDataset,
        run_folder: Path,
        say: Callable[[str], None],
        progress: bool,
        workers: Workers | None = None,
        val_data: PreparedDataset | None = None,
    ):
        self.config, self.data, self.run_folder, self.val_data = config, data, Path(run_folder), val_data
        self.say, self.progress = say, progress
        self.workers = workers or Workers(tf.distribute.get_strategy())
        self.mode = config.train.cache_features
        self.cache = None
        self._cached: Sequence[Sequence[int]] = ()  # places of the samples that the stage reads from the cache

    def steps_per_epoch(self, stage: str) -> int:
        """Returns the number of steps in an epoch of a stage."""
        return steps_per_epoch(getattr(self.config.train, stage), len(self.data), self.config.data.batch_size)

    def dataset(
        self, stage: str, model: MaskRCNN, start_batch: int
    ) -> tf.data.Dataset | tf.distribute.DistributedDataset:
        """Returns the endless data of a stage for `fit`, from batch `start_batch` on. All workers must call it.

        Raises:
            CacheError: `train.cache_features` is "on", but the cache cannot be written or does not fit on the disk.
        """
        batch_size, masks = self.config.data.batch_size, stage in MASK_STAGES
        if stage in CACHED_STAGES and self._fill_cache(model):
            make = partial(self.cache.dataset, self._plan(start_batch), batch_size, with_masks=masks)
        else:
            self._cached = ()
            sampling = Sampling.of(self.config, with_masks=masks)
            make = partial(sampled_batches, self.data, self._plan(start_batch), batch_size, sampling)
        return self.workers.distribute(make)

    def validation_steps(self) -> int:
        """Returns the number of batches of `validation`; 0 where there is nothing to validate on."""
        count = self.config.train.validation_images
        if self.val_data is None or not len(self.val_data) or not count:
            return 0
        # Only whole batches, because the devices share each one evenly.
        return max(min(count, len(self.val_data)) // self.config.data.batch_size, 1)

    def validation(self, stage: str) -> tf.data.Dataset | tf.distribute.DistributedDataset:
        """Returns the finite data on which `fit` validates a stage, always the same. All workers must call it."""
        data, model = self.config.data, self.config.model
        make = partial(
            validation_dataset,
            self.val_data,
            batch_size=data.batch_size,
            min_size=model.min_size,
            max_size=model.max_size,
            with_masks=stage in MASK_STAGES,
            images=self.validation_steps() * data.batch_size,
        )
        return self.workers.distribute(make)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Names the damaged file if a pipeline fails within the block.

        Raises:
            CacheError: it is a file of the feature cache.
            DataError: it is a shard of the data.
        """
        try:
            yield
        except DAMAGE:
            if self.cache is not None:
                self.cache.check(self._cached)
            for data in filter(None, (self.data, self.val_data)):
                data.check()
            raise

    def remove_cache(self) -> None:
        """Deletes the cache that runs have made in this folder, and nothing else."""
        # Other runs may use a folder that the user has named.
        if self.config.train.cache_folder is None:
            # A run that is resumed at its very end makes no cache, but may have left one; so may a run on earlier data.
            remove_folders(self.run_folder / "cache")

    def _fill_cache(self, model):
        """Fills the cache for box and mask stage; returns False if it is off, not worth it, or too large."""
        if self.mode == "off":
            return False
        if self.cache is None:
            self.cache = self._make_cache(model)
        steps = [getattr(self.config.train, stage).epochs * self.steps_per_epoch(stage) for stage in CACHED_STAGES]
        samples = self.cache.needed(self._plan(), max(steps))
        if self.mode == "auto" and len(samples) >= sum(steps) * self.config.data.batch_size:
            return False
        try:
            self._write_missing(samples)
        except CacheError as error:
            if self.mode == "on":
                raise
            self.say(f"No feature cache: {error}")
            self.remove_cache()
            self.mode = "off"
            return False
        self._cached = samples
        return True

    def _write_missing(self, samples):
        """Writes the missing files; if one worker cannot, all stop. Raises `CacheError`."""
        missing = self.workers.run(self._find_missing, samples)
        share = self.workers.share
        self.workers.run(self.cache.fill, missing[share.index :: share.count], self.progress)
        if share.count > 1:  # files that others have written to a disk of their own
            self.workers.run(self.cache.fill, samples, self.progress)

    def _find_missing(self, samples):
        """Returns the samples whose files are missing, after checking that they fit on the disk."""
        missing = self.cache.missing(samples)
        need, free = self.cache.check_room(missing)
        if len(missing):
            self.say(
                f"Feature cache {self.cache.folder}: writing {len(missing)} of {len(samples)} augmented images, at "
                f"most {need / 1e9:.2f} GB; {free / 1e9:.2f} GB are free"
            )
        return missing

    def _make_cache(self, model):
        train, sampling = self.config.train, Sampling.of(self.config)
        dtype = model.neck.compute_dtype if train.cache_dtype == "auto" else train.cache_dtype
        settings = {"computed in": model.neck.compute_dtype, "dtype": dtype, "sampling": asdict(sampling)}
        root = train.cache_folder or self.run_folder / "cache"
        key = cache_key(model, self.data, settings)
        return FeatureCache(root, key, model, self.data, sampling, epochs=train.cache_epochs, dtype=dtype)

    def _plan(self, start_batch=0):
        batch_size, seed = self.config.data.batch_size, self.config.train.seed
        return planned_batches(self.data.image_sizes, batch_size, seed, start_batch, self.data.index["shards"])
