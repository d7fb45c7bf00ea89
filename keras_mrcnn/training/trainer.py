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
from keras_mrcnn.data.pipeline import evaluation_dataset, reading_error, training_dataset
from keras_mrcnn.evaluation.evaluator import evaluate_model
from keras_mrcnn.evaluation.tables import format_table, read_json, write_json
from keras_mrcnn.models.mask_rcnn import MaskRCNN
from keras_mrcnn.training.callbacks import SaveCheckpoint, StopOnNonFiniteLoss
from keras_mrcnn.training.checkpoint import Progress, read_progress, restore_model, restore_optimizer
from keras_mrcnn.training.optimizers import make_optimizer
from keras_mrcnn.training.precision import resolve_precision
from keras_mrcnn.training.stages import BoxStage, MaskStage, RPNStage
from keras_mrcnn.weights.keras_applications import load_imagenet
from keras_mrcnn.weights.native import save_weights

logger = logging.getLogger(__name__)

STAGES = {"rpn": RPNStage, "box": BoxStage, "mask": MaskStage}
# What there is to score when a stage ends.
SCORED = {"rpn": ("rpn",), "box": ("box",), "mask": ("box", "mask")}


class StagedTrainer:
    """Trains a Mask R-CNN in three frozen stages and scores each when it ends.

    Args:
        config: `Config`; `data.train_annotations` and `data.train_images` must be set. Without validation data the
            stages are not scored.
        run_folder: where everything is written: config.yaml, checkpoint.safetensors, rpn.safetensors,
            box.safetensors, model.safetensors, metrics.json and logs/ for TensorBoard.
        strategy: `tf.distribute.Strategy`; by default a MirroredStrategy where there are several GPUs.
        resume: goes on from the checkpoint in `run_folder`.
        verbose: of Keras `fit`; 0 also silences tables and the bars of the evaluation.

    Raises:
        DataError: the data check found problems and `data.skip_bad` is off; the message lists them.
        FileExistsError: `run_folder` holds a run already and `resume` is off.

    Example:
        >>> trainer = StagedTrainer(load_config("run.yaml"), "runs/first")
        >>> model = trainer.fit()
    """

    def __init__(self, config, run_folder, *, strategy=None, resume=False, verbose=1):
        self.run_folder = Path(run_folder)
        self.verbose = verbose
        self.strategy = strategy or default_strategy()
        _check_batch_size(config, self.strategy)
        self.checkpoint = self.run_folder / "checkpoint.safetensors"
        _check_folder(self.run_folder, self.checkpoint, resume)
        self.train_data = _open(config, "train")
        self.val_data = _open(config, "val") if config.data.val_annotations else None
        self.config = _with_classes(config, self.train_data, self.val_data)
        self.progress = read_progress(self.checkpoint) if resume else Progress("rpn", 0)
        self.metrics = read_json(self.run_folder / "metrics.json") if resume and self._has_metrics() else {}
        keras.utils.set_random_seed(self.config.train.seed)
        with self.strategy.scope():
            self.model = MaskRCNN(self.config.model, resolve_precision(self.config.train.precision))
        if resume:
            restore_model(self.checkpoint, self.model)
        elif self.config.model.backbone.weights:
            load_imagenet(self.model.backbone, self.config.model.backbone.weights)
        else:
            _warn_of_frozen_noise(self.config.model.backbone)
        self.run_folder.mkdir(parents=True, exist_ok=True)
        save_config(self.config, self.run_folder / "config.yaml")

    def fit(self):
        """Trains what is left of the three stages.

        Returns:
            The trained `MaskRCNN`.

        Raises:
            NonFiniteLossError: a loss became NaN or infinite.
            DataError: an image could not be read.
        """
        names = list(STAGES)
        for name in names[names.index(self.progress.stage) :]:
            done = self.progress.epoch if name == self.progress.stage else 0
            if done == 0 or done < getattr(self.config.train, name).epochs or name not in self._facts():
                self._train_stage(name, done)
        return self.model

    def _train_stage(self, name, done):
        settings, started = getattr(self.config.train, name), time.monotonic()
        steps = settings.steps_per_epoch or max(len(self.train_data) // self.config.data.batch_size, 1)
        with self.strategy.scope():
            stage = STAGES[name](self.model)
            stage.compile(make_optimizer(settings, settings.epochs * steps))
        if done:
            with self.strategy.scope():
                restore_optimizer(self.checkpoint, stage)
        if done < settings.epochs:
            self._say(f"\n{name} stage: {settings.epochs} epochs of {steps} steps")
            self._fit(stage, name, settings.epochs, steps, done)
        path = self.run_folder / ("model.safetensors" if name == "mask" else f"{name}.safetensors")
        save_weights(self.model, path)
        seconds = round(time.monotonic() - started, 1)
        self._score(name, {"seconds": seconds, "peak_memory_mb": peak_memory_mb()})

    def _fit(self, stage, name, epochs, steps, done):
        callbacks = [
            StopOnNonFiniteLoss(name),
            SaveCheckpoint(self.checkpoint, name),
            keras.callbacks.TensorBoard(str(self.run_folder / "logs" / name), write_graph=False),
        ]
        try:
            stage.fit(
                self._training_batches(done * steps, with_masks=name == "mask"),
                steps_per_epoch=steps,
                initial_epoch=done,
                epochs=epochs,
                callbacks=callbacks,
                verbose=self.verbose,
            )
        except tf.errors.OpError as error:
            sentence = reading_error(error)
            if sentence is None:
                raise
            raise DataError(sentence) from None

    def _training_batches(self, start_batch, with_masks):
        data, model = self.config.data, self.config.model
        return training_dataset(
            self.train_data,
            batch_size=data.batch_size,
            min_size=data.min_sizes or model.min_size,
            max_size=max(model.max_size, *(data.min_sizes or (0,))),
            flip=data.flip,
            scale_jitter=data.scale_jitter,
            mask_size=data.mask_size if with_masks else 0,
            seed=self.config.train.seed,
            start_batch=start_batch,
        )

    def _score(self, name, facts):
        self._facts()[name] = facts
        if self.val_data is not None:
            batches = evaluation_dataset(
                self.val_data,
                batch_size=self.config.data.eval_batch_size,
                min_size=self.config.model.min_size,
                max_size=self.config.model.max_size,
            )
            scores, _ = evaluate_model(self.model, self.val_data, batches, SCORED[name], bool(self.verbose))
            self.metrics.update(scores)
            self._say(format_table(scores))
        self._say(f"{name} stage: {facts['seconds']:.0f} s, peak memory {facts['peak_memory_mb']} MB")
        write_json(self.run_folder / "metrics.json", self.metrics)

    def _facts(self):
        """What is known of each stage that has ended: seconds and memory."""
        return self.metrics.setdefault("training", {})

    def _has_metrics(self):
        return (self.run_folder / "metrics.json").is_file()

    def _say(self, text):
        if self.verbose:
            print(text, flush=True)


def default_strategy():
    """MirroredStrategy over the GPUs where there are several, else TensorFlow's default, one device."""
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def peak_memory_mb():
    """Greatest resident memory of this process so far, in megabytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))


def _check_batch_size(config, strategy):
    replicas = strategy.num_replicas_in_sync
    if config.data.batch_size % replicas:
        raise ValueError(
            f"data.batch_size {config.data.batch_size} cannot be shared by {replicas} devices; use a multiple of that"
        )


def _check_folder(folder, checkpoint, resume):
    if resume and not checkpoint.is_file():
        raise FileNotFoundError(f"{folder}: holds no checkpoint to resume from; train without --resume")
    if not resume and (checkpoint.is_file() or (folder / "model.safetensors").is_file()):
        raise FileExistsError(f"{folder}: holds a run already; resume it with --resume, or name another folder")


def _warn_of_frozen_noise(backbone):
    if backbone.freeze_stages or backbone.norm == "frozen_bn":
        logger.warning(
            "The backbone starts from random weights, but model.backbone.freeze_stages is %d and norm is %s, so that "
            "parts of it stay random; set freeze_stages=0 and norm=bn, or model.backbone.weights.",
            backbone.freeze_stages,
            backbone.norm,
        )


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
