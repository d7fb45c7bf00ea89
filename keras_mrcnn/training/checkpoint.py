"""Writes and reads checkpoints, from which a stage continues as if it had never stopped."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.training.best_weights import BestWeights
from keras_mrcnn.training.loss_scaling import hidden_variables
from keras_mrcnn.training.stage import Stage
from keras_mrcnn.weights.names import named_weights
from keras_mrcnn.weights.native import WeightsError, assign_weights, read_safetensors, value_of, write_safetensors

MODEL, OPTIMIZER, BEST = "model/", "optimizer/", "best/"


class Progress(NamedTuple):
    """The stage in training and the number of its finished epochs."""

    stage: str
    epoch: int


def save_checkpoint(path: str | os.PathLike, stage: Stage, name: str, epoch: int) -> None:
    """Writes the model, the optimizer, the best epoch so far and the progress of the run.

    An earlier file is replaced only when the new one is whole.

    Args:
        path: file to write.
        stage: a compiled `Stage`.
        name: name of the stage.
        epoch: number of finished epochs of the stage.
    """
    tensors = {
        MODEL + key: np.ascontiguousarray(entry.to_torch(value_of(entry.variable)))
        for key, entry in named_weights(stage.mask_rcnn).items()
    }
    for index, variable in enumerate(_optimizer_variables(stage)):
        # Not ascontiguousarray, which turns the step count into a vector.
        tensors[f"{OPTIMIZER}{index:05d}"] = np.asarray(value_of(variable), order="C")
    metadata, best = {"stage": name, "epoch": str(epoch)}, stage.best_weights
    if best is not None and best.epoch:
        tensors.update({f"{BEST}{index:05d}": value for index, value in enumerate(best.values)})
        metadata.update(best_epoch=str(best.epoch), best_by=best.name, best_value=repr(best.value))
    write_safetensors(path, tensors, metadata)


def read_progress(path: str | os.PathLike) -> Progress:
    """Reads the `Progress` of a checkpoint. Raises `WeightsError` if the file is missing, damaged or no checkpoint."""
    _, metadata = read_safetensors(path)
    if not {"stage", "epoch"} <= metadata.keys():
        raise WeightsError(f"{path}: is not a checkpoint; --resume takes the run folder that training wrote")
    return Progress(metadata["stage"], int(metadata["epoch"]))


def restore_model(path: str | os.PathLike, model: MaskRCNN) -> None:
    """Fills a `MaskRCNN` from a checkpoint."""
    tensors, _ = read_safetensors(path)
    assign_weights(model, _part(tensors, MODEL), path)


def restore_optimizer(path: str | os.PathLike, stage: Stage) -> None:
    """Fills the optimizer of a compiled stage from a checkpoint. Raises `WeightsError` if the optimizer differs."""
    saved = _part(read_safetensors(path)[0], OPTIMIZER)
    variables = _optimizer_variables(stage)
    shapes = [saved[key].shape for key in sorted(saved)]
    if shapes != [tuple(variable.shape) for variable in variables]:
        raise WeightsError(f"{path}: was written with another optimizer; resume with the settings of the run")
    for key, variable in zip(sorted(saved), variables):
        variable.assign(saved[key])


def restore_best(path: str | os.PathLike, best: BestWeights) -> None:
    """Fills a `BestWeights` from a checkpoint, if that holds a best epoch by the same measure."""
    tensors, metadata = read_safetensors(path)
    if metadata.get("best_by") == best.name:
        saved = _part(tensors, BEST)
        best.values = [saved[key] for key in sorted(saved)]
        best.epoch, best.value = int(metadata["best_epoch"]), float(metadata["best_value"])


def _optimizer_variables(stage):
    # Otherwise the first step makes the slots, and there would be none to restore.
    stage.optimizer.build(stage.trainable_variables)
    # The optimizers of tensorflow-addons have weights, and their variables lack those of a wrapped optimizer.
    attribute = "weights" if hasattr(stage.optimizer, "weights") else "variables"
    variables = [*getattr(stage.optimizer, attribute), *hidden_variables(stage.optimizer)]
    average = stage.weight_average
    return variables if average is None else [*variables, *average.variables]


def _part(tensors, prefix):
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
