"""Makes the batches of each stage, from images or from the feature cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import tensorflow as tf

from keras_mrcnn.config import Config
from keras_mrcnn.data.augmentation import augmentation_settings
from keras_mrcnn.data.batching import BatchPlan
from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.data.pipeline import training_dataset
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.training.cache_files import CacheError, remove_folders
from keras_mrcnn.training.cache_key import cache_key
from keras_mrcnn.training.distribution import Workers
from keras_mrcnn.training.feature_cache import FeatureCache
from keras_mrcnn.training.validation import validation_dataset

CACHED_STAGES = ("box", "mask")
MASK_STAGES = ("mask", "joint")


class StageBatches:
    """Makes the batches of each stage, and caches the features of the frozen part where that saves work.

    Args:
        config: `Config`.
        data: `CocoDataset` to train on.
        run_folder: folder of the cache, unless `train.cache_folder` names another place.
        say: function that prints a message to the user.
        progress: whether to show progress bars.
        workers: `Workers` that train together; by default only this process, on the devices of the current strategy.
        val_data: `CocoDataset` to validate on, or None.
    """

    def __init__(
        self,
        config: Config,
        data: CocoDataset,
        run_folder: Path,
        say: Callable[[str], None],
        progress: bool,
        workers: Workers | None = None,
        val_data: CocoDataset | None = None,
    ):
        self.config, self.data, self.run_folder, self.val_data = config, data, Path(run_folder), val_data
        self.say, self.progress = say, progress
        self.workers = workers or Workers(tf.distribute.get_strategy())
        self.mode = config.train.cache_features
        self.cache = None

    def steps_per_epoch(self, stage: str) -> int:
        """Returns the number of steps in an epoch of a stage."""
        settings = getattr(self.config.train, stage)
        return settings.steps_per_epoch or max(len(self.data) // self.config.data.batch_size, 1)

    def dataset(
        self, stage: str, model: MaskRCNN, start_batch: int
    ) -> tf.data.Dataset | tf.distribute.DistributedDataset:
        """Returns the endless data of a stage for `fit`, from batch `start_batch` on. All workers must call it.

        Raises:
            CacheError: `train.cache_features` is "on", but the cache cannot be written or does not fit on the disk.
        """
        batch_size, masks = self.config.data.batch_size, stage in MASK_STAGES
        if stage in CACHED_STAGES and self._fill_cache(model):
            make = partial(self.cache.dataset, self._plan(), batch_size, start_batch, with_masks=masks)
        else:
            make = partial(
                training_dataset,
                self.data,
                batch_size=batch_size,
                seed=self.config.train.seed,
                start_batch=start_batch,
                **self._sample_settings(with_masks=masks),
            )
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
            mask_size=data.mask_size if stage in MASK_STAGES else 0,
            images=self.validation_steps() * data.batch_size,
        )
        return self.workers.distribute(make)

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
        counts = [
            getattr(self.config.train, stage).epochs * self.steps_per_epoch(stage) * self.config.data.batch_size
            for stage in CACHED_STAGES
        ]
        samples = self.cache.needed(self._plan(), max(counts))
        if self.mode == "auto" and len(samples) >= sum(counts):
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
        return True

    def _write_missing(self, samples):
        """Writes the missing files; if one worker cannot, all stop. Raises `CacheError`."""
        missing = self._in_all(self._find_missing, samples)
        share = self.workers.share
        self._in_all(self.cache.fill, missing[share.index :: share.count], self.progress)
        if share.count > 1:  # files that others have written to a disk of their own
            self._in_all(self.cache.fill, samples, self.progress)

    def _in_all(self, work, *args):
        """Runs `work` in every worker. If it raises `CacheError` in one, all raise it."""
        result = problem = None
        try:
            result = work(*args)
        except CacheError as error:
            problem = str(error)
        problems = [text for text in self.workers.exchange(problem) if text is not None]
        if problems:
            raise CacheError(problems[0])
        return result

    def _find_missing(self, samples):
        """Returns the samples whose files are missing, after checking that they fit on the disk."""
        missing = self.cache.missing(samples)
        need, free = self.cache.check_room(missing)
        if missing:
            self.say(
                f"Feature cache {self.cache.folder}: writing {len(missing)} of {len(samples)} augmented images, at "
                f"most {need / 1e9:.2f} GB; {free / 1e9:.2f} GB are free"
            )
        return missing

    def _make_cache(self, model):
        train, sample_settings = self.config.train, self._sample_settings(with_masks=True)
        dtype = model.neck.compute_dtype if train.cache_dtype == "auto" else train.cache_dtype
        settings = {
            "seed": train.seed,
            "computed in": model.neck.compute_dtype,
            "dtype": dtype,
            "sample": sample_settings,
        }
        root = train.cache_folder or self.run_folder / "cache"
        key = cache_key(model, self.data, settings)
        return FeatureCache(
            root, key, model, self.data, sample_settings, seed=train.seed, epochs=train.cache_epochs, dtype=dtype
        )

    def _plan(self):
        return BatchPlan(self.data.image_sizes, self.config.data.batch_size, self.config.train.seed)

    def _sample_settings(self, with_masks):
        """Returns how images are resized and augmented, as arguments of `training_dataset` and `single_samples`."""
        settings = augmentation_settings(self.config.data, self.config.model)
        return {**settings, "mask_size": self.config.data.mask_size if with_masks else 0}
