"""Runs the three stages one after the other, each with all before it frozen."""

import logging
import resource
import sys
import time
from pathlib import Path

import keras
import tensorflow as tf

from keras_mrcnn.config import save_config
from keras_mrcnn.data.check import DataError, check_dataset, drop_bad
from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.data.pipeline import evaluation_dataset, reading_error
from keras_mrcnn.evaluation.evaluator import evaluate_model
from keras_mrcnn.evaluation.tables import format_table, read_json, write_json
from keras_mrcnn.models.mask_rcnn import MaskRCNN
from keras_mrcnn.training.batches import StageBatches
from keras_mrcnn.training.cache_files import CacheError, cache_reading_error
from keras_mrcnn.training.callbacks import SaveCheckpoint, StopOnNonFiniteLoss, addons_callbacks
from keras_mrcnn.training.checkpoint import Progress, read_progress, restore_model, restore_optimizer
from keras_mrcnn.training.distribution import Workers, choose_strategy
from keras_mrcnn.training.joint_stage import JointStage
from keras_mrcnn.training.optimizers import make_optimizer
from keras_mrcnn.training.precision import resolve_precision
from keras_mrcnn.training.stages import BoxStage, MaskStage, RPNStage
from keras_mrcnn.training.weight_average import WeightAverage, take_average
from keras_mrcnn.weights import WeightsError, load_backbone, load_weights, save_weights
from keras_mrcnn.weights.model_files import read_weights

logger = logging.getLogger(__name__)

STAGES = {"rpn": RPNStage, "box": BoxStage, "mask": MaskStage, "joint": JointStage}
# What there is to score when a stage ends.
SCORED = {"rpn": ("rpn",), "box": ("box",), "mask": ("box", "mask"), "joint": ("rpn", "box", "mask")}


class StagedTrainer:
    """Trains a Mask R-CNN in three frozen stages and scores each when it ends.

    Args:
        config: `Config`; `data.train_annotations` and `data.train_images` must be set. Without validation data the
            stages are not scored.
        run_folder: where everything is written: config.yaml, checkpoint.safetensors, rpn.safetensors,
            box.safetensors, model.safetensors, metrics.json and logs/ for TensorBoard.
        strategy: `tf.distribute.Strategy`; by default that of `choose_strategy`.
        resume: goes on from the checkpoint in `run_folder`.
        verbose: of Keras `fit`; 0 also silences tables and the bars of the evaluation. Of several workers only the
            first says anything.

    Raises:
        DataError: the data check found problems and `data.skip_bad` is off; the message lists them.
        FileExistsError: `run_folder` holds a run already and `resume` is off.
        WorkerLostError: of several workers another one is gone.

    Example:
        >>> trainer = StagedTrainer(load_config("run.yaml"), "runs/first")
        >>> model = trainer.fit()
    """

    def __init__(self, config, run_folder, *, strategy=None, resume=False, verbose=1):
        self.run_folder = Path(run_folder)
        self.checkpoint = self.run_folder / "checkpoint.safetensors"
        # First of all, for TensorFlow joins other workers only before it has computed anything.
        self.workers = Workers(strategy or choose_strategy())
        self.strategy = self.workers.strategy
        self.verbose = verbose if self.workers.is_chief else 0
        with self.workers.watched(self.checkpoint):
            self._prepare(config, resume)

    def _prepare(self, config, resume):
        self.workers.share.piece_size(config.data.batch_size)
        _check_folder(self.run_folder, self.checkpoint, resume)
        self.train_data = _open(config, "train")
        self.val_data = _open(config, "val") if config.data.val_annotations else None
        self.config = _with_classes(config, self.train_data, self.val_data)
        self.progress = read_progress(self.checkpoint) if resume else Progress("rpn", 0)
        self.metrics = read_json(self.run_folder / "metrics.json") if resume and self._has_metrics() else {}
        self.workers.check_agreement(_facts(self.config, self.progress))
        keras.utils.set_random_seed(self.config.train.seed)
        if self.config.train.deterministic:
            tf.config.experimental.enable_op_determinism()
        self.precision = resolve_precision(self.config.train.precision)
        with self.strategy.scope():
            self.model = MaskRCNN(self.config.model, self.precision)
        if resume:
            restore_model(self.checkpoint, self.model)
        else:
            _start(self.model, self.config)
        self.batches = StageBatches(
            self.config, self.train_data, self.run_folder, self._say, bool(self.verbose), self.workers
        )
        # What cannot be had must not come up after hours of training.
        for name in self._stages():
            if getattr(self.config.train, name).epochs:
                self._optimizer(name)
                addons_callbacks(getattr(self.config.train, name))
                self._check_time_limit(name)
        if self.workers.is_chief:
            self.run_folder.mkdir(parents=True, exist_ok=True)
            save_config(self.config, self.run_folder / "config.yaml")
        self.workers.check_folder(self.run_folder / "config.yaml")

    def fit(self):
        """Trains what is left of the three stages.

        Returns:
            The trained `MaskRCNN`.

        Raises:
            NonFiniteLossError: a loss became NaN or infinite.
            DataError: an image could not be read.
            WorkerLostError: of several workers another one is gone.
        """
        with self.workers.watched(self.checkpoint):
            self._train()
        return self.model

    def _train(self):
        names = self._stages()
        for name in names[names.index(self.progress.stage) :]:
            done = self.progress.epoch if name == self.progress.stage else 0
            if done == 0 or done < getattr(self.config.train, name).epochs or name not in self._facts():
                self._train_stage(name, done)
        self.workers.wait()  # nobody reads the cache any more, and all that was promised is written
        if self.workers.is_chief:
            self.batches.remove_cache()

    def _train_stage(self, name, done):
        settings, started = getattr(self.config.train, name), time.monotonic()
        steps = self.batches.steps_per_epoch(name)
        with self.strategy.scope():
            stage = STAGES[name](self.model)
            stage.compile(self._optimizer(name))
        if settings.average is not None:
            stage.weight_average = WeightAverage(stage, settings.average)
        if done:
            with self.strategy.scope():
                restore_optimizer(self.checkpoint, stage)
        if done < settings.epochs:
            self._say(f"\n{name} stage: {settings.epochs} epochs of {steps} steps")
            self._fit(stage, name, settings.epochs, steps, done)
        if settings.epochs:
            with self.strategy.scope():
                take_average(stage)
        path = self.run_folder / ("model.safetensors" if name == self._stages()[-1] else f"{name}.safetensors")
        if self.workers.is_chief:
            save_weights(self.model, path)
        seconds = round(time.monotonic() - started, 1)
        self._score(name, {"seconds": seconds, "peak_memory_mb": peak_memory_mb()})

    def _fit(self, stage, name, epochs, steps, done):
        settings = getattr(self.config.train, name)
        callbacks = [StopOnNonFiniteLoss(name), *filter(None, [stage.weight_average])]
        if self.workers.is_chief:
            logs = str(self.run_folder / "logs" / name)
            callbacks += [SaveCheckpoint(self.checkpoint, name), keras.callbacks.TensorBoard(logs, write_graph=False)]
        if not self.verbose:
            settings = settings.model_copy(update={"progress": "keras"})
        callbacks += addons_callbacks(settings)
        try:
            stage.fit(
                self.batches.dataset(name, self.model, done * steps),
                steps_per_epoch=steps,
                initial_epoch=done,
                epochs=epochs,
                callbacks=callbacks,
                verbose=0 if settings.progress == "tqdm" else self.verbose,
            )
        except tf.errors.OpError as error:
            for kind, sentence in ((DataError, reading_error(error)), (CacheError, cache_reading_error(error))):
                if sentence is not None:
                    raise kind(sentence) from None
            raise

    def _check_time_limit(self, name):
        if self.workers.count > 1 and getattr(self.config.train, name).time_limit is not None:
            raise ValueError(f"train.{name}.time_limit: workers do not end by their own clocks together; set epochs")

    def _stages(self):
        """The stages of this run; the fourth is optional."""
        return [name for name in STAGES if name != "joint" or self.config.train.joint.epochs]

    def _optimizer(self, name):
        settings = getattr(self.config.train, name)
        with self.strategy.scope():
            return make_optimizer(settings, settings.epochs * self.batches.steps_per_epoch(name), self.precision)

    def _score(self, name, facts):
        self._facts()[name] = facts
        if self.val_data is not None:
            batches = evaluation_dataset(
                self.val_data,
                batch_size=self.config.data.eval_batch_size,
                min_size=self.config.model.min_size,
                max_size=self.config.model.max_size,
                share=self.workers.share,
            )
            scores, _ = evaluate_model(
                self.model, self.val_data, batches, SCORED[name], bool(self.verbose), self.workers
            )
            self.metrics.update(scores)
            self._say(format_table(scores))
        self._say(f"{name} stage: {facts['seconds']:.0f} s, peak memory {facts['peak_memory_mb']} MB")
        if self.workers.is_chief:
            write_json(self.run_folder / "metrics.json", self.metrics)

    def _facts(self):
        """What is known of each stage that has ended: seconds and memory."""
        return self.metrics.setdefault("training", {})

    def _has_metrics(self):
        return (self.run_folder / "metrics.json").is_file()

    def _say(self, text):
        if self.verbose:
            print(text, flush=True)


def peak_memory_mb():
    """Greatest resident memory of this process so far, in megabytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))


def _check_folder(folder, checkpoint, resume):
    if resume and not checkpoint.is_file():
        raise FileNotFoundError(f"{folder}: holds no checkpoint to resume from; train without --resume")
    if not resume and (checkpoint.is_file() or (folder / "model.safetensors").is_file()):
        raise FileExistsError(f"{folder}: holds a run already; resume it with --resume, or name another folder")


def _facts(config, progress):
    """What must be the same in all workers; where the data lie may differ from host to host."""
    settings = config.model_dump(mode="json")
    lie = [key for key in settings["data"] if key.endswith(("_annotations", "_images"))]
    data = {key: value for key, value in settings["data"].items() if key not in lie}
    return {"model": settings["model"], "train": settings["train"], "data": data, "progress": tuple(progress)}


def _start(model, config):
    """Fills a new model from train.weights, or its backbone from model.backbone.weights; else it starts at random."""
    backbone = config.model.backbone
    if config.train.weights:
        _load_whole(model, config.train.weights)
    elif backbone.weights:
        load_backbone(model.backbone, backbone.weights)
    elif backbone.freeze_stages or backbone.norm == "frozen_bn":
        logger.warning(
            "The backbone starts from random weights, but model.backbone.freeze_stages is %d and norm is %s, so that "
            "parts of it stay random; set freeze_stages=0 and norm=bn, or model.backbone.weights or train.weights.",
            backbone.freeze_stages,
            backbone.norm,
        )


def _load_whole(model, file):
    try:
        load_weights(model, file)
    except WeightsError as error:
        read_weights(file, anchors=model.config.rpn)  # raises where the file itself is at fault, and not the settings
        hint = f"`keras-mrcnn weights inspect {file} --yaml` prints the model settings of the file"
        raise WeightsError(f"{error}; {hint}") from None


def _with_classes(config, train_data, val_data):
    """The config with the classes of the training data, which must be those of all else."""
    names = tuple(train_data.class_names)
    if val_data is not None and tuple(val_data.class_names) != names:
        raise ValueError(
            f"{config.data.val_annotations}: has the classes {', '.join(val_data.class_names)}, the training data "
            f"{', '.join(names)}; use the same, or choose those in both with data.class_names"
        )
    if config.model.class_names and tuple(config.model.class_names) != names:
        raise ValueError(
            f"{config.data.train_annotations}: has the classes {', '.join(names)}, but model.class_names are "
            f"{', '.join(config.model.class_names)}; train on data with these, or leave model.class_names out"
        )
    classes = {"class_names": names, "category_ids": tuple(train_data.category_ids)}
    return config.model_copy(update={"model": config.model.model_copy(update=classes)})


def _open(config, split):
    """The `CocoDataset` of a split, checked."""
    data = config.data
    annotations, images = getattr(data, f"{split}_annotations"), getattr(data, f"{split}_images")
    if not annotations or not images:
        raise ValueError(f"data.{split}_annotations and data.{split}_images must be set to train")
    problems = check_dataset(annotations, images)
    source = annotations
    if problems and not data.skip_bad:
        lines = "\n".join(map(str, problems))
        raise DataError(f"{annotations}: {len(problems)} problems; mend them, or drop them with --skip-bad\n{lines}")
    if problems:
        source, counts = drop_bad(annotations, images, problems)
        dropped = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        logger.warning("%s: dropped %s", annotations, dropped)
    return CocoDataset(source, images, data.class_names)
