"""Reads the folder of a run: settings, scores of the training, and losses from TensorBoard's files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.stage_names import STAGES
from keras_mrcnn.config import Config, load_config
from keras_mrcnn.evaluation.tables import read_json


@dataclass(frozen=True, eq=False)
class StageLosses:
    """The losses of a stage, epoch by epoch.

    Args:
        epochs: int [E], the numbers of the epochs, starting at 1; epochs without a record are absent.
        values: dict of name ("loss" is the sum of the others) to float64 [E], NaN if an epoch does not have this loss.
    """

    epochs: np.ndarray
    values: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class RunFolder:
    """The content of a run's folder.

    Args:
        path: the folder.
        config: settings of the run.
        metrics: content of metrics.json, empty until the first stage has ended: "training" (seconds and memory of each
            stage) and the scores of the stages, "rpn", "box" and "mask".
        losses: dict of stage name to `StageLosses`, for the stages with at least one completed epoch.
        weights: path of the finished model, or None.
    """

    path: Path
    config: Config
    metrics: dict
    losses: dict[str, StageLosses]
    weights: Path | None

    @property
    def name(self) -> str:
        """Returns the name of the folder."""
        return self.path.resolve().name


def read_run(path: Path) -> RunFolder:
    """Reads the folder of a run.

    Args:
        path: folder that `train` has written.

    Returns:
        `RunFolder`.

    Raises:
        ValueError: the folder is not that of a run, or a file in it cannot be read; the message names it.
    """
    path = Path(path)
    if not (path / "config.yaml").is_file():
        raise UserError(f"{path}: has no config.yaml, so it is not the folder of a run; name one that `train` wrote")
    metrics, weights = path / "metrics.json", path / "model.safetensors"
    losses = {stage: read_losses(path / "logs" / stage / "train") for stage in STAGES}
    return RunFolder(
        path=path,
        config=load_config(path / "config.yaml"),
        metrics=read_json(metrics) if metrics.is_file() else {},
        losses={stage: stage_losses for stage, stage_losses in losses.items() if stage_losses is not None},
        weights=weights if weights.is_file() else None,
    )


def read_losses(folder: Path) -> StageLosses | None:
    """Reads the losses that Keras' TensorBoard callback has written.

    If an epoch was trained twice because the training was resumed, the last time counts.

    Args:
        folder: folder of the event files; it need not exist.

    Returns:
        `StageLosses`, or None if there are no losses.
    """
    if not any(folder.glob("*tfevents*")):
        return None
    events = EventAccumulator(str(folder), {"tensors": 0}, purge_orphaned_data=False).Reload()
    by_name: dict[str, dict[int, float]] = {}
    for tag in events.Tags()["tensors"]:
        if tag.startswith("epoch_") and tag.endswith("loss"):
            values = sorted(events.Tensors(tag), key=lambda event: event.wall_time)
            by_name[tag[len("epoch_") :]] = {event.step: float(make_ndarray(event.tensor_proto)) for event in values}
    steps = sorted({step for values in by_name.values() for step in values})
    if not steps:
        return None
    values = {name: np.array([by_step.get(step, np.nan) for step in steps]) for name, by_step in by_name.items()}
    return StageLosses(np.array(steps) + 1, values)
