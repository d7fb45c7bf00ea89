"""Trains the three stages one after the other, each with all parts before it frozen, and the optional fourth."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from keras_mrcnn.addons import addons_callback
from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.stage_names import PARTS_OF_STAGE, STAGES
from keras_mrcnn.config import Config, load_config, save_config
from keras_mrcnn.evaluation.evaluator import evaluate_model
from keras_mrcnn.evaluation.tables import format_table, read_json, write_json
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.training.batches import StageBatches
from keras_mrcnn.training.best_weights import BestWeights, EpochScore
from keras_mrcnn.training.callbacks import SaveCheckpoint, StopOnNonFiniteLoss
from keras_mrcnn.training.checkpoint import (
    Progress,
    read_progress,
    restore_best,
    restore_model,
    restore_optimizer,
    save_checkpoint,
)
from keras_mrcnn.training.distribution import Workers, choose_strategy
from keras_mrcnn.training.joint_stage import JointStage
from keras_mrcnn.training.memory import peak_memory_mb
from keras_mrcnn.training.optimizers import make_optimizer
from keras_mrcnn.training.precision import resolve_precision
from keras_mrcnn.training.run_setup import (
    check_folder,
    load_initial_weights,
    open_data,
    shared_settings,
    with_classes,
)
from keras_mrcnn.training.schedules import scaled_learning_rate
from keras_mrcnn.training.stage_lengths import Length, planned_lengths, resolve_lengths, warmup_steps
from keras_mrcnn.training.stages import BoxStage, MaskStage, RPNStage
from keras_mrcnn.training.weight_average import WeightAverage, take_average
from keras_mrcnn.weights.native import assign_weights, named_values

STAGE_CLASSES = dict(zip(STAGES, (RPNStage, BoxStage, MaskStage, JointStage)))
Callbacks = Sequence[keras.callbacks.Callback]


class StagedTrainer:
    """Trains a Mask R-CNN in three frozen stages and scores each when it ends.

    With validation data each epoch ends with the losses on them, and each stage ends with the weights of its best epoch
    (`train.best_by`), with which the next one begins. Settings that are "auto" follow from the data, and with
    `train.minutes` the stages are planned for that time, counted from here; config.yaml has the resulting numbers.

    Args:
        config: `Config`; `data.train_annotations` must be set, and `data.train_images` unless it names prepared data.
            Without validation data the stages are not scored, and end with their last epoch.
        run_folder: folder for all files: config.yaml, checkpoint.safetensors, rpn.safetensors,
            box.safetensors, model.safetensors, metrics.json and logs/ for TensorBoard; with the fourth stage also
            mask.safetensors.
        strategy: `tf.distribute.Strategy`; by default that of `choose_strategy`.
        resume: whether to continue from the checkpoint in `run_folder`.
        verbose: as for Keras `fit`; 0 also silences tables and the bars of the evaluation. Of several workers only the
            first prints.
        callbacks: Keras callbacks for the `fit` of every stage, or a dict of them by the name of the stage. They run
            after the trainer's own. Give a dict where each stage needs its own, such as a `ModelCheckpoint` with
            `save_best_only`, which would compare the losses of different stages. A stage that a callback has stopped
            does not continue when the run is resumed; the state of a callback is not saved.

    Attributes:
        model: the `MaskRCNN`.
        history: `history.history` of each stage's `fit`, a dict by the name of the stage.

    Raises:
        DataError: the data check found problems and `data.skip_bad` is off; the message lists them.
        FileExistsError: `run_folder` holds a run already and `resume` is off.
        WorkerLostError: another worker is gone.

    Example:
        >>> trainer = StagedTrainer(load_config("run.yaml"), "runs/first")
        >>> model = trainer.fit()
    """

    def __init__(
        self,
        config: Config,
        run_folder: str | os.PathLike,
        *,
        strategy: tf.distribute.Strategy | None = None,
        resume: bool = False,
        verbose: int = 1,
        callbacks: Callbacks | Mapping[str, Callbacks] = (),
    ):
        unknown = [name for name in callbacks if name not in STAGES] if isinstance(callbacks, Mapping) else []
        if unknown:
            raise UserError(f"callbacks: there is no stage {unknown[0]!r}; stages are {', '.join(STAGES)}")
        self.callbacks, self.started = callbacks, time.monotonic()
        self.history: dict[str, dict[str, list[float]]] = {}
        self.run_folder = Path(run_folder)
        self.checkpoint = self.run_folder / "checkpoint.safetensors"
        # First of all, because TensorFlow joins other workers only before it has computed anything.
        self.workers = Workers(strategy or choose_strategy())
        self.strategy = self.workers.strategy
        self.verbose = verbose if self.workers.is_chief else 0
        with self.workers.watched(self.checkpoint):
            self._prepare(config, resume)

    def _prepare(self, config, resume):
        self.workers.share.piece_size(config.data.batch_size)
        check_folder(self.run_folder, self.checkpoint, resume)
        self.train_data = self._open_data(config, "train")
        self.val_data = self._open_data(config, "val") if config.data.val_annotations else None
        self.asked = with_classes(config, self.train_data, self.val_data)
        self.config = resolve_lengths(self.asked, len(self.train_data))
        self.progress = read_progress(self.checkpoint) if resume else Progress("rpn", 0)
        self.metrics = read_json(self.run_folder / "metrics.json") if resume and self._has_metrics() else {}
        if self.progress.stage not in self._stages(config):
            raise UserError(f"{self.checkpoint}: is of the joint stage; leave train.joint.epochs above 0")
        self.workers.check_agreement(shared_settings(self.config, self.progress, self.train_data))
        self.batches = StageBatches(
            self.config, self.train_data, self.run_folder, self._say, bool(self.verbose), self.workers, self.val_data
        )
        self.budget, self.plan = None, {}
        if self.config.train.minutes is not None:
            self._make_plan(self.config.train.minutes, resume)
        keras.utils.set_random_seed(self.config.train.seed)
        if self.config.train.deterministic:
            tf.config.experimental.enable_op_determinism()
        self.precision = resolve_precision(self.config.train.precision)
        with self.strategy.scope():
            self.model = MaskRCNN(self.config.model, dtype=self.precision)
        if resume:
            restore_model(self.checkpoint, self.model)
        else:
            load_initial_weights(self.model, self.config)
        # What cannot be had must not come up after hours of training.
        for name in self._stages(self.config):
            if getattr(self.config.train, name).epochs:
                self._optimizer(name)
                self._progress_bar(getattr(self.config.train, name))
                self._check_patience(name)
        if self.workers.is_chief:
            self.run_folder.mkdir(parents=True, exist_ok=True)
            save_config(self.config, self.run_folder / "config.yaml")
        self.workers.check_folder(self.run_folder / "config.yaml")

    def _open_data(self, config, split):
        """Opens the data of a split: first the chief, then the others, who find what it has prepared."""
        opened = None
        for turn in (True, False):
            if self.workers.is_chief == turn:
                opened = self.workers.run(open_data, config, split, self.run_folder, bool(self.verbose))
            else:
                self.workers.run(lambda: None)
        return opened

    def fit(self) -> MaskRCNN:
        """Trains the stages, or what is left of them.

        Returns:
            The trained `MaskRCNN`.

        Raises:
            NonFiniteLossError: a loss became NaN or infinite.
            DataError: a shard of the data is damaged.
            WorkerLostError: another worker is gone.
        """
        with self.workers.watched(self.checkpoint):
            self._train()
        return self.model

    def _train(self):
        names = self._stages(self.config)
        for name in names[names.index(self.progress.stage) :]:
            if name == "joint":
                self._remove_cache()
            done = self.progress.epoch if name == self.progress.stage else 0
            if not self._has_ended(name, done):
                self._train_planned(name, done)
        self._remove_cache()

    def _make_plan(self, minutes, resume):
        """Plans the stages for the time that the run may take, or takes the plan that a resumed run has made."""
        if resume:
            stages = load_config(self.run_folder / "config.yaml").train
            lengths = {name: getattr(stages, name) for name in STAGES}
            self._follow({name: Length(stage.epochs, stage.steps_per_epoch) for name, stage in lengths.items()})
            return
        from keras_mrcnn.training.rehearsal import Rehearsal  # which is a trainer itself

        self._say(f"Planning the stages for {minutes:g} minutes, from a few steps of each")
        self.budget = Rehearsal(self).make_budget(self.started + 60 * minutes)
        self._follow(self.workers.exchange(self.budget.plan(STAGES[0]))[0])
        self._say("; ".join(f"{name}: {epochs} epochs of {steps} steps" for name, (epochs, steps) in self.plan.items()))

    def _follow(self, plan):
        self.plan = plan
        self.config = self.batches.config = planned_lengths(self.config, self.asked, plan, len(self.train_data))

    def _train_planned(self, name, done):
        """Trains a stage; within a budget, the stages from this one on are planned again with the time that is left."""
        if self.budget is None:
            self._train_stage(name, done)
            return
        self._follow(self.workers.exchange(self.budget.plan(name))[0])
        if self.workers.is_chief:
            save_config(self.config, self.run_folder / "config.yaml")
        started = time.monotonic()
        self._train_stage(name, done)
        self.budget.stage_ended(name, self.plan, time.monotonic() - started)

    def _has_ended(self, name, done):
        settings = getattr(self.config.train, name)
        record = self._records().get(name)
        return done > 0 and record is not None and (done >= settings.epochs or record.get("stopped_early", False))

    def _remove_cache(self):
        self.workers.wait()  # until nobody reads it and everything is written
        if self.workers.is_chief:
            self.batches.remove_cache()

    def _train_stage(self, name, done):
        settings, started = getattr(self.config.train, name), time.monotonic()
        record = self._fit(name, settings, done) if settings.epochs else {}
        if self.workers.is_chief:
            last = self._stages(self.config)[-1]
            self.model.save_pretrained(self.run_folder / f"{'model' if name == last else name}.safetensors")
        seconds = round(time.monotonic() - started, 1)
        memory = peak_memory_mb()
        self._score(name, {"seconds": seconds, **({} if memory is None else {"peak_memory_mb": memory}), **record})

    def _fit(self, name, settings, done):
        """Trains a stage from epoch `done` on and returns its record for metrics.json."""
        with self.strategy.scope():
            stage = STAGE_CLASSES[name](self.model)
            stage.compile(self._optimizer(name))
        if settings.average is not None:
            stage.weight_average = WeightAverage(stage, settings.average)
        if self._keeps_best(settings):
            stage.best_weights = self._best_weights(stage, name, settings)
        if done:
            with self.strategy.scope():
                restore_optimizer(self.checkpoint, stage)
            if stage.best_weights is not None:
                restore_best(self.checkpoint, stage.best_weights)
        is_exhausted = stage.best_weights is not None and stage.best_weights.is_exhausted(done)
        if done < settings.epochs and not is_exhausted:
            done += self._run_epochs(stage, name, settings, done)
        return self._end_stage(stage, name, done, done < settings.epochs)

    def _run_epochs(self, stage, name, settings, done):
        """Fits a stage from epoch `done` on and returns the number of epochs that it ran."""
        steps, validation_steps = self.batches.steps_per_epoch(name), self.batches.validation_steps()
        warmup = warmup_steps(settings, settings.epochs * steps)
        rate = scaled_learning_rate(settings, self.config.data.batch_size)
        self._say(
            f"\n{name} stage: {len(self.train_data)} images, {settings.epochs} epochs of {steps} steps, warm-up "
            f"{warmup} steps, learning rate {rate:.3g}"
        )
        validation = {}
        if validation_steps:
            validation = {"validation_data": self.batches.validation(name), "validation_steps": validation_steps}
        with self.batches.reading():
            history = stage.fit(
                self.batches.dataset(name, self.model, done * steps),
                steps_per_epoch=steps,
                initial_epoch=done,
                epochs=settings.epochs,
                callbacks=self._callbacks(stage, name, settings),
                verbose=0 if settings.progress == "tqdm" else self.verbose,
                **validation,
            )
        self.history[name] = history.history
        return len(history.epoch)

    def _end_stage(self, stage, name, epochs, stopped_early):
        """Gives the model the weights with which its stage ends, and returns the stage's record for metrics.json."""
        best, record = stage.best_weights, {"epochs": epochs, "best_epoch": epochs}
        if stopped_early:
            record["stopped_early"] = True
        with self.strategy.scope():
            replaced = best.assign() if best is not None and best.epoch else take_average(stage)
        if replaced and self.workers.is_chief:
            # The next stage begins with these, also when it is resumed before its own first checkpoint.
            save_checkpoint(self.checkpoint, stage, name, epochs)
        if best is not None and best.epoch:
            record.update({"best_epoch": best.epoch, best.name: best.value})
            self._say(f"{name} stage: ends with epoch {best.epoch} of {epochs}, {best.name} {best.value:.4f}")
        return record

    def _keeps_best(self, settings):
        # These optimizers average themselves, and the average exists only at the end of the stage.
        averages = settings.optimizer in ("swa", "moving_average")
        return self.config.train.best_by != "last" and self.batches.validation_steps() > 0 and not averages

    def _check_patience(self, name):
        settings = getattr(self.config.train, name)
        if settings.patience is not None and not self._keeps_best(settings):
            raise UserError(
                f"train.{name}.patience: needs data.val_annotations, train.validation_images above 0, train.best_by "
                "val_loss or score, and an optimizer that does not average; set these, or leave patience out"
            )

    def _best_weights(self, stage, name, settings):
        train, score = self.config.train, EpochScore(name, self.model, self.val_data, self.config, self.workers)
        score = score if train.best_by == "score" else None
        return BestWeights(stage, self.workers, settings.patience, score, train.score_every)

    def _callbacks(self, stage, name, settings):
        callbacks = [StopOnNonFiniteLoss(name), *filter(None, [stage.weight_average, stage.best_weights])]
        if self.workers.is_chief:
            logs = str(self.run_folder / "logs" / name)
            callbacks += [SaveCheckpoint(self.checkpoint, name), keras.callbacks.TensorBoard(logs, write_graph=False)]
        own = self.callbacks.get(name, ()) if isinstance(self.callbacks, Mapping) else self.callbacks
        return [*callbacks, *(self._progress_bar(settings) if self.verbose else ()), *own]

    @staticmethod
    def _progress_bar(settings):
        return [addons_callback("tqdm")] if settings.progress == "tqdm" else []

    @staticmethod
    def _stages(config):
        """Returns the stages of a run; the fourth is optional."""
        return [name for name in STAGES if name != "joint" or config.train.joint.epochs]

    def _optimizer(self, name):
        settings = getattr(self.config.train, name)
        with self.strategy.scope():
            total_steps = settings.epochs * self.batches.steps_per_epoch(name)
            return make_optimizer(settings, total_steps, self.precision, self.config.data.batch_size)

    def _score(self, name, record):
        self._records()[name] = record
        if self.val_data is not None and self._is_worth_scoring(name):
            scores, _ = evaluate_model(
                self._scored_model(),
                self.val_data,
                PARTS_OF_STAGE[name],
                batch_size=self.config.data.eval_batch_size,
                progress=bool(self.verbose),
                workers=self.workers,
            )
            self.metrics.update(scores)
            self._say(format_table(scores))
        memory = f", peak memory {record['peak_memory_mb']} MB" if "peak_memory_mb" in record else ""
        self._say(f"{name} stage: {record['seconds']:.0f} s{memory}")
        if self.workers.is_chief:
            write_json(self.run_folder / "metrics.json", self.metrics)

    def _is_worth_scoring(self, name):
        # A part without epochs before the joint stage is random as a rule, and the joint stage scores all parts.
        return getattr(self.config.train, name).epochs > 0 or "joint" not in self._stages(self.config)

    def _scored_model(self):
        """Returns the model in float32, as a user loads it from its file."""
        if self.precision == "float32":
            return self.model
        with self.strategy.scope():
            model = MaskRCNN(self.config.model, dtype="float32")
            # By name, since Keras 2 orders the weights by which parts are frozen.
            assign_weights(model, named_values(self.model), self.run_folder)
        return model

    def _records(self):
        """Returns the records of the finished stages in metrics.json: seconds, memory, epochs."""
        return self.metrics.setdefault("training", {})

    def _has_metrics(self):
        return (self.run_folder / "metrics.json").is_file()

    def _say(self, text):
        if self.verbose:
            print(text, flush=True)
