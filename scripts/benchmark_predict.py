"""Measures the command and the exported SavedModel on the same files, in turns, for `benchmark.py predict`."""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import click
from benchmark_infer import run_program
from predict_runner import WARM_UP

RUNNER = Path(__file__).with_name("predict_runner.py")
GOAL = 1.15


def measure_prediction(weights: Path, pictures: list[Path], rounds: int) -> list[tuple]:
    """Measures both and returns rows (name, command, SavedModel, goal): seconds a picture, then megabytes.

    Args:
        weights: weight file of the model, which is exported first.
        pictures: image files, more than WARM_UP.
        rounds: number of processes of each kind.
    """
    measured = {"command": [], "saved_model": []}
    with tempfile.TemporaryDirectory() as folder:
        export_saved_model(weights, folder)
        models = {"command": weights, "saved_model": Path(folder, "model", "1")}
        for number in range(rounds):
            for kind, model in models.items():
                click.echo(f"{kind}, round {number + 1} ...", err=True)
                out = Path(folder, f"{kind}_{number}")
                measured[kind].append(run_program([sys.executable, RUNNER, kind, model, out, *pictures]))
    rows = (("predict, a picture", "seconds_a_picture", GOAL), ("peak memory MB: predict", "peak_memory_mb", None))
    return [(name, *(statistics.median(run[key] for run in runs) for runs in measured.values()), goal)
            for name, key, goal in rows]  # fmt: skip


def export_saved_model(weights: Path, folder: str) -> None:
    """Exports in a process of its own, so that this one stays small."""
    command = [sys.executable, "-m", "keras_mrcnn", "export", weights, "--name", "model", "--out", folder]
    run_program([*command, "--format", "saved_model"], reads_json=False)


def first_pictures(folder: Path, count: int) -> list[Path]:
    """Returns the first files of a folder, by name.

    Raises:
        UsageError: there are too few files to leave any after the warm-up.
    """
    pictures = sorted(path for path in folder.iterdir() if path.is_file())[:count]
    if len(pictures) <= WARM_UP:
        raise click.UsageError(f"--images {folder}: has {len(pictures)} files; at least {WARM_UP + 1} are needed")
    return pictures
