"""Measures how fast training samples are made beside torchvision's reference transforms, for `benchmark.py data`."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
from benchmark_infer import run_program

RUNNER = Path(__file__).with_name("data_runner.py")
GOAL, CORES_GOAL = 1 / 1.3, 1 / 1.8  # of the seconds for a picture
COMPARED = ("flip", "jitter_crop")
OURS_ALONE = ("rotation", "colours", "copy_paste", "all")


def measure_data(
    annotations: Path, images: Path, peer: Callable[..., list] | None, rounds: int, seconds: int, cores: int
) -> list[tuple]:
    """Measures all and returns rows (name, ours, peer, goal) of seconds a picture.

    Args:
        annotations, images: COCO file and folder of its images.
        peer: function of transforms and kind ("reference" or "whole") that returns the command of the peer.
        rounds: processes of each kind, taking turns.
        seconds: seconds that each of them measures.
        cores: cores of this machine to use; the peer has as many workers.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        prepare = [sys.executable, "-m", "keras_mrcnn", "data", "prepare", annotations, folder, "--images", images]
        run_program(prepare, reads_json=False)
        rows.append(("prepare, whole command", time.perf_counter() - started, None, None))
        for name in COMPARED:
            kinds = {"ours": [sys.executable, RUNNER, folder, name, cores, seconds]}
            kinds["one core"] = [sys.executable, RUNNER, folder, name, 1, seconds]
            if peer is not None:
                kinds.update({kind: peer(name, kind) for kind in ("reference", "whole")})
            picture = _alternate(kinds, rounds)
            if peer is not None:
                rows.append((f"{name}, reference transforms alone", picture["ours"], picture["reference"], GOAL))
                rows.append((f"{name}, normalised and resized, too", picture["ours"], picture["whole"], None))
            rows.append((f"{name}, {cores} cores / one core", picture["ours"], picture["one core"], CORES_GOAL))
        ours = {name: [sys.executable, RUNNER, folder, name, cores, seconds] for name in OURS_ALONE}
        rows += [(name, value, None, None) for name, value in _alternate(ours, 1).items()]
    return rows


def _alternate(commands: dict[str, list], rounds: int) -> dict[str, float]:
    """Runs the commands in turns and returns the median seconds a picture of each."""
    measured: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds):
        for name, command in commands.items():
            click.echo(f"{name}, round {number + 1} ...", err=True)
            measured[name].append(1 / run_program(command)["pictures_a_second"])
    return {name: statistics.median(values) for name, values in measured.items()}
