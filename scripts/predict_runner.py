"""Times detection in picture files, from the file on; started by benchmark.py predict, a process for each run.

    python scripts/predict_runner.py command model.safetensors found a.jpg b.jpg ...
    python scripts/predict_runner.py saved_model saved_models/model/1 found a.jpg b.jpg ...

`command` is `keras-mrcnn predict`, which draws what it finds and writes it to the folder `found`; `saved_model` reads
the same files and gives `Detections`, as a Python program that has the exported model does. Prints one JSON line:
seconds_a_picture after the first WARM_UP pictures; pictures; peak_memory_mb of the process.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from infer_runner import load_saved_model
from peers.peak_memory import peak_memory_mb
from run_exported import read_picture

from keras_mrcnn.base.records import Detections

WARM_UP = 4


def run_command(weights: str, out: str, pictures: list[str]) -> list[float]:
    """Runs the command and returns when each picture was finished, in seconds.

    The command draws a picture as soon as it has its objects.
    """
    from keras_mrcnn.cli import main as command

    command(["predict", weights, *pictures, "--out", out], standalone_mode=False)
    return sorted(path.stat().st_mtime_ns / 1e9 for path in Path(out).iterdir() if path.suffix != ".json")


def run_saved_model(path: str, out: str, pictures: list[str]) -> list[float]:
    """Runs a SavedModel and returns when each picture was finished, in seconds."""
    run, finished = load_saved_model(path), []
    names = {category: str(category) for category in range(1, 1000)}
    for picture in pictures:
        image = read_picture(picture)
        Detections.from_outputs(run(image), names, image.shape[:2])
        finished.append(time.time())
    return finished


def seconds_a_picture(finished: list[float]) -> float:
    """Returns the mean time of a picture after the warm-up."""
    return (finished[-1] - finished[WARM_UP - 1]) / (len(finished) - WARM_UP)


def main(kind: str, model: str, out: str, *pictures: str) -> None:
    """Runs one kind and prints the figures as JSON."""
    finished = {"command": run_command, "saved_model": run_saved_model}[kind](model, out, list(pictures))
    figures = {"seconds_a_picture": seconds_a_picture(finished), "pictures": len(finished)}
    print(json.dumps({**figures, "peak_memory_mb": peak_memory_mb()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
