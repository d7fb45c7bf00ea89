"""What a run folder holds: settings, scores of the training, and the losses in TensorBoard's files."""

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
        epochs: int [E], from 1 on; those that were lost are missing.
        values: dict of name ("loss" is the sum of the others) to float64 [E], NaN where an epoch lacks it.
    """

    epochs: np.ndarray
    values: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class RunFolder:
    """What is known of a run.

    Args:
        path: its folder.
        config: its settings.
        metrics: content of metrics.json, empty before the first stage has ended: "training" (seconds and memory of each
            stage), and the scores "rpn", "box", "mask" that there are.
        losses: dict of stage name to `StageLosses`, of the stages that have an epoch behind them.
        weights: the finished model, or None.
    """

    path: Path
    config: Config
    metrics: dict
    losses: dict[str, StageLosses]
    weights: Path | None

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.resolve().name


def read_run(path: Path) -> RunFolder:
    """Reads a run folder.

    Raises:
        ValueError: it holds no run, or a file in it cannot be read; the message names it.
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
        losses={stage: found for stage, found in losses.items() if found is not None},
        weights=weights if weights.is_file() else None,
    )


def read_losses(folder: Path) -> StageLosses | None:
    """Reads the losses that Keras' TensorBoard callback wrote; None where there are none.

    An epoch that was trained twice, because the training was resumed, counts as it was the last time.
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
    values = {name: np.array([found.get(step, np.nan) for step in steps]) for name, found in by_name.items()}
    return StageLosses(np.array(steps) + 1, values)
