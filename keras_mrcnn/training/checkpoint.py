"""Checkpoints: all that a stage needs to go on as if it had never stopped."""

import collections

import numpy as np

from keras_mrcnn.training.loss_scaling import hidden_variables
from keras_mrcnn.weights.names import named_weights
from keras_mrcnn.weights.native import WeightsError, assign_weights, read_safetensors, value_of, write_safetensors

MODEL, OPTIMIZER = "model/", "optimizer/"

Progress = collections.namedtuple("Progress", "stage epoch")
Progress.__doc__ = "The stage in training and how many of its epochs are done."


def save_checkpoint(path, stage, name, epoch):
    """Writes the model, the optimizer and how far they are; the file before it is replaced only when this one is whole.

    Args:
        path: of the file.
        stage: a compiled `Stage`.
        name: of the stage.
        epoch: how many epochs of the stage are done.
    """
    tensors = {
        MODEL + key: np.ascontiguousarray(entry.to_torch(value_of(entry.variable)))
        for key, entry in named_weights(stage.mask_rcnn).items()
    }
    for index, variable in enumerate(_optimizer_variables(stage)):
        # Not ascontiguousarray, which makes a vector of the step count.
        tensors[f"{OPTIMIZER}{index:05d}"] = np.asarray(value_of(variable), order="C")
    write_safetensors(path, tensors, {"stage": name, "epoch": str(epoch)})


def read_progress(path):
    """`Progress` of a checkpoint. Raises `WeightsError` if the file is missing, torn or no checkpoint."""
    _, metadata = read_safetensors(path)
    if not {"stage", "epoch"} <= metadata.keys():
        raise WeightsError(f"{path}: is not a checkpoint; --resume takes the run folder that training wrote")
    return Progress(metadata["stage"], int(metadata["epoch"]))


def restore_model(path, model):
    """Fills a `MaskRCNN` from a checkpoint."""
    tensors, _ = read_safetensors(path)
    assign_weights(model, _part(tensors, MODEL), path)


def restore_optimizer(path, stage):
    """Fills the optimizer of a compiled stage from a checkpoint. Raises `WeightsError` if it is another optimizer."""
    saved = _part(read_safetensors(path)[0], OPTIMIZER)
    variables = _optimizer_variables(stage)
    shapes = [saved[key].shape for key in sorted(saved)]
    if shapes != [tuple(variable.shape) for variable in variables]:
        raise WeightsError(f"{path}: was written with another optimizer; resume with the settings of the run")
    for key, variable in zip(sorted(saved), variables):
        variable.assign(saved[key])


def _optimizer_variables(stage):
    # Slots come into being with the first step otherwise, and there would be nothing to restore into.
    stage.optimizer.build(stage.trainable_variables)
    # Those of tensorflow-addons call them weights, and leave what the wrapped optimizer has out of their variables.
    named = "weights" if hasattr(stage.optimizer, "weights") else "variables"
    variables = [*getattr(stage.optimizer, named), *hidden_variables(stage.optimizer)]
    average = getattr(stage, "weight_average", None)
    return variables if average is None else [*variables, *average.variables]


def _part(tensors, prefix):
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
