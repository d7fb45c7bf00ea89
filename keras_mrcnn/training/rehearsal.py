"""Measures what the parts of a run take, with a few steps of each of its stages."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import keras

from keras_mrcnn.base.stage_names import PARTS_OF_STAGE, STAGES
from keras_mrcnn.config import Config
from keras_mrcnn.evaluation.evaluator import evaluate_model
from keras_mrcnn.training.batches import CACHED_STAGES
from keras_mrcnn.training.budget import Budget, CacheCosts, StageCosts
from keras_mrcnn.training.feature_cache import SPARE
from keras_mrcnn.training.stage_lengths import Length
from keras_mrcnn.training.trainer import StagedTrainer

STEPS, STEPS_BEFORE = 16, 4  # of each stage; the first ones may find their batches ready
VALIDATION_STEPS = 4  # with fewer, TensorFlow warns that graphs are built too often
SCORED_IMAGES, SCORED_BATCHES = 8, 3  # whichever is more


class Rehearsal(StagedTrainer):
    """Runs a few steps of each stage of a run, from beginning to end, in a folder of its own, and measures the time.

    The steps are as in the run, with a learning rate of nearly nothing, and nothing of them is kept.

    Args:
        run: the trainer of the run; its data and settings are there already.
    """

    def __init__(self, run: StagedTrainer):
        self.run = run
        folder = run.run_folder.absolute()
        folder = folder.with_name(f".{folder.name}-rehearsal")
        self.watches = {name: StageWatch(folder / "cache") for name in STAGES}
        self.scoring: dict[str, ScoringSeconds] = {}
        self._remove(folder)  # what a killed process has left
        callbacks = {name: [watch] for name, watch in self.watches.items()}
        super().__init__(_shortened(run.config), folder, strategy=run.strategy, verbose=0, callbacks=callbacks)

    def make_budget(self, end: float) -> Budget:
        """Runs the steps and returns a `Budget` of the run.

        Args:
            end: when the run must have ended, on `time.monotonic`.

        Raises:
            UserError: the time is too short.
        """
        try:
            self.fit()
        finally:
            self._remove(self.run_folder)
        settings, run = self.run.config, self.run
        names, steps = self._stages(settings), run.batches.steps_per_epoch
        asked = {name: Length(getattr(settings.train, name).epochs, steps(name)) for name in names}
        costs = {name: self._costs(name) for name in names}
        cache = self._cache_costs()
        budget = Budget(end, costs, asked, settings.data.batch_size, cache, clock=time.monotonic)
        self.workers.run(budget.check)
        return budget

    def _costs(self, name):
        watch, train = self.watches[name], self.run.config.train
        images = 0 if self.val_data is None else len(self.val_data)
        scoring = self.scoring.get(name, ScoringSeconds())
        at_end = watch.fixed() + scoring.of(images / self.workers.count)
        epoch = self.run.batches.validation_steps() * watch.validation() + watch.checkpoint()
        if train.best_by == "score":
            epoch += scoring.of(min(images, train.validation_images) / self.workers.count) / train.score_every
        return StageCosts(at_end, watch.step(), epoch)

    def _cache_costs(self):
        first = next((name for name in CACHED_STAGES if self.watches[name].cached), None)
        if first is None:
            return CacheCosts()
        watch, train = self.watches[first], self.run.config.train
        size = SPARE * max(bytes_ for _, bytes_ in watch.cached)
        folder = Path(train.cache_folder or self.run_folder).absolute()
        free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
        return CacheCosts(watch.cached_image(), len(self.train_data) * train.cache_epochs, int(free / size))

    def _open_data(self, config, split):
        return self.run.train_data if split == "train" else self.run.val_data

    def _train_stage(self, name, done):
        self.watches[name].start()
        super()._train_stage(name, done)

    def _score(self, name, record):
        self.watches[name].ended = time.monotonic()
        self._records()[name] = record
        if self.val_data is None:
            return
        batch_size = self.config.data.eval_batch_size
        self.scoring[name] = scoring = ScoringSeconds()
        evaluate_model(
            self._scored_model(),
            self.val_data,
            PARTS_OF_STAGE[name],
            batch_size=batch_size,
            images=self.workers.count * max(SCORED_IMAGES, SCORED_BATCHES * batch_size),
            progress=False,
            workers=self.workers,
            on_batch=scoring.add,
        )
        scoring.add(0)

    def _remove(self, folder):
        self.run.workers.wait()
        if self.run.workers.is_chief:
            shutil.rmtree(folder, ignore_errors=True)
        self.run.workers.wait()


def _shortened(config: Config) -> Config:
    """Returns the settings of a run with a few steps in each stage."""
    train, changes = config.train, {"minutes": None, "best_by": "last", "cache_folder": None}
    for name in STAGES:
        settings = getattr(train, name)
        further = {key: value for key, value in settings.optimizer_settings.items() if key != "start_averaging"}
        short = {"epochs": 1, "steps_per_epoch": STEPS, "learning_rate": 1e-9, "patience": None, "progress": "keras"}
        if settings.epochs:
            changes[name] = settings.model_copy(update={**short, "optimizer_settings": further})
    # A cache that is not worth it for these few steps may be for the run.
    changes["cache_features"] = "off" if train.cache_features == "off" else "on"
    changes["validation_images"] = min(train.validation_images, VALIDATION_STEPS * config.data.batch_size)
    return config.model_copy(update={"train": train.model_copy(update=changes)})


class StageWatch(keras.callbacks.Callback):
    """Keeps when the steps of a stage end. The stage's other callbacks must come before it.

    Args:
        cache: folder of the feature cache.

    Attributes:
        ended: time of the end of the stage, which the caller sets.
        cached: time and bytes of each file that the stage has added to the cache before its first step.
    """

    def __init__(self, cache: Path):
        super().__init__()
        self.cache = cache
        self.begun = self.ended = self.epoch_end = 0.0
        self.files, self.cached, self.steps, self.validations = set(), [], [], []

    def start(self) -> None:
        """Keeps the time at which the stage begins."""
        self.begun, self.files = time.monotonic(), set(self.cache.rglob("*.tfrecord"))

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Keeps what has been added to the cache."""
        stats = [path.stat() for path in set(self.cache.rglob("*.tfrecord")) - self.files]
        self.cached = sorted((stat.st_mtime, stat.st_size) for stat in stats)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Keeps the time."""
        self.steps.append(time.monotonic())

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Keeps the time."""
        self.validations.append(time.monotonic())

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keeps the time."""
        self.epoch_end = time.monotonic()

    def step(self) -> float:
        """Returns the seconds of a step; 0 without any."""
        return _pace(self.steps[STEPS_BEFORE - 1 :])

    def validation(self) -> float:
        """Returns the seconds of a validation step; those of a training step if there has been only one."""
        return _pace(self.validations) or self.step()

    def checkpoint(self) -> float:
        """Returns the seconds of the end of an epoch after validation."""
        return self.epoch_end - max([0.0, *self.steps, *self.validations])

    def cached_image(self) -> float:
        """Returns the seconds of an image in the cache."""
        return _pace([written for written, _ in self.cached])

    def fixed(self) -> float:
        """Returns the seconds of the stage that do not depend on its length."""
        repeated = max(len(self.steps) - 1, 0) * self.step() + max(len(self.validations) - 1, 0) * self.validation()
        return self.ended - self.begun - repeated - self.checkpoint() - len(self.cached) * self.cached_image()


class ScoringSeconds:
    """Measures the scoring of a model: call `add` with the size of each batch, and with 0 at the end."""

    def __init__(self):
        self.times, self.images = [time.monotonic()], [0]

    def add(self, images: int) -> None:
        """Keeps the time at which these images are ready."""
        self.times.append(time.monotonic())
        self.images.append(self.images[-1] + images)

    def of(self, images: float) -> float:
        """Returns the seconds that scoring so many images takes; 0 if nothing has been scored."""
        if len(self.images) < 3:
            return 0.0
        (start, first), (last, end), measured = self.times[:2], self.times[-2:], self.images[-1]
        further = measured - self.images[1]
        per_image = (last - first) / further if further else 0.0
        return first - start + per_image * max(images - self.images[1], 0) + (end - last) * images / measured


def _pace(times):
    """Returns the mean time between two events; 0 for fewer than two."""
    return (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
