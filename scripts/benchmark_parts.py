"""Measures detections in parts for `benchmark.py predict`: time, memory, and what kills leave."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from benchmark_infer import run_program
from PIL import Image

RUNNER = Path(__file__).with_name("parts_runner.py")
TIME_GOAL, MEMORY_GOAL = 1 / 0.9, 1.05  # the network's pictures a second against those of the command; megabytes
FEW, MANY = 100, 5000
KILL_PICTURES, KILL_PART = 600, 12
PATIENCE = 120  # seconds for a part


def measure_parts(weights: Path, pictures: list[Path], rounds: int) -> list[tuple]:
    """Returns the row (name, command, network, goal) of the seconds a picture.

    Args:
        weights: weight file, SavedModel or ONNX file.
        pictures: image files.
        rounds: how often both run, taking turns in one process.
    """
    seconds = run_program([sys.executable, RUNNER, "time", weights, rounds, *pictures])
    medians = (statistics.median(seconds[kind]) for kind in ("parts", "network"))
    return [(f"in parts, a picture of {len(pictures)}", *medians, TIME_GOAL)]


def measure_memory() -> list[tuple]:
    """Returns the row (name, many, few, goal) of the megabytes for many and for few small pictures."""
    with tempfile.TemporaryDirectory() as folder:
        model, peaks = make_model(folder), []
        for count in (MANY, FEW):
            click.echo(f"{count} pictures ...", err=True)
            pictures = make_pictures(Path(folder, f"pictures-{count}"), count)
            figures = run_program([sys.executable, RUNNER, "memory", model, pictures, Path(folder, f"out-{count}")])
            peaks.append(figures["peak_memory_mb"])
    return [(f"peak memory MB: in parts, {MANY} and {FEW} pictures", *peaks, MEMORY_GOAL)]


def count_differences(kills: int) -> int:
    """Kills the command again and again, resumes it, and returns how many files are not as without kills."""
    with tempfile.TemporaryDirectory() as folder:
        model, pictures = make_model(folder), make_pictures(Path(folder, "pictures"), KILL_PICTURES)
        whole, killed = Path(folder, "whole"), Path(folder, "killed")
        command = [sys.executable, "-m", "keras_mrcnn", "predict", model, pictures, "--format", "parquet", "--resume"]
        command = [str(part) for part in [*command, "--part-size", KILL_PART, "--out"]]
        run_program([*command, whole], reads_json=False)
        for kill in range(kills):
            click.echo(f"kill {kill + 1}: {len(finished_parts(killed))} parts are there", err=True)
            interrupt(command, killed, kill / kills)
        run_program([*command, killed], reads_json=False)
        names = {path.name for out in (whole, killed) for path in out.iterdir()}
        return sum(content(whole / name) != content(killed / name) for name in names)


def interrupt(command: list[str], out: Path, share: float) -> None:
    """Starts the command and kills it in the middle of a part, after that share of the time of a part."""
    before, start = len(finished_parts(out)), time.monotonic()
    with subprocess.Popen([*command, out], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        times = []
        while len(times) < 2 and process.poll() is None and time.monotonic() < start + PATIENCE:
            if len(finished_parts(out)) > before + len(times):
                times.append(time.monotonic())
            time.sleep(0.001)
        if process.poll() is not None:
            raise click.ClickException("the command ended before it could be killed; take fewer kills")
        time.sleep(share * (times[-1] - times[0]) if times else 0)
        process.kill()


def finished_parts(out: Path) -> list[Path]:
    """Returns the summaries of the parts that are whole."""
    return list(out.glob("part-*.json"))


def content(path: Path) -> bytes | None:
    """Returns the content of a file, or None if it is missing."""
    return path.read_bytes() if path.is_file() else None


def make_model(folder: str) -> Path:
    """Writes a small model in a process of its own, so that this one stays small."""
    path = Path(folder, "model.safetensors")
    run_program([sys.executable, RUNNER, "model", path])
    return path


def make_pictures(folder: Path, count: int) -> Path:
    """Writes small pictures of noise, of many sizes."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        height, width = random.integers(40, 80, 2)
        pixels = random.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:05d}.jpg")
    return folder
