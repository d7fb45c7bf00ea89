"""Measures `keras-mrcnn predict --format parquet`; benchmark.py predict starts it, a process for each figure.

    python scripts/parts_runner.py time model.safetensors 3 a.jpg b.jpg ...
    python scripts/parts_runner.py memory model.safetensors folder out
    python scripts/parts_runner.py model small.safetensors

`time` prints, for each of 3 rounds, the seconds a picture of the network alone on decoded pixels, and of the whole way
from the files to parts with all rows; the model is warm. `memory` runs the command and prints peak_memory_mb. `model`
writes the weights of a small model that finds something everywhere.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from peers.peak_memory import peak_memory_mb

WARM_UP = 4


def measure_time(model: str, rounds: str, *pictures: str) -> dict:
    """Returns the seconds a picture of each round: of the network, and of the parts."""
    from keras_mrcnn.base.image_files import read_image
    from keras_mrcnn.batch import open_input, predict_parts, run

    source = run.find_source(model)
    runtime = run.open_runtime(source)
    run.open_runtime = lambda source: runtime
    pixels = [read_image(picture, channels=runtime.channels)[None] for picture in pictures]
    for image in pixels[:WARM_UP]:
        runtime.detect(image)
    seconds = {"network": [], "parts": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(int(rounds)):
            start = time.perf_counter()
            for image in pixels:
                runtime.detect(image)
            middle = time.perf_counter()
            predict_parts(model, open_input(pictures), Path(folder, str(number)))
            seconds["network"].append((middle - start) / len(pixels))
            seconds["parts"].append((time.perf_counter() - middle) / len(pixels))
    return seconds


def measure_memory(model: str, folder: str, out: str) -> dict:
    """Runs the command and returns the peak memory of this process."""
    from keras_mrcnn.cli import main as command

    command(["predict", model, folder, "--out", out, "--format", "parquet"], standalone_mode=False)
    return {"peak_memory_mb": peak_memory_mb()}


def write_model(path: str) -> dict:
    """Writes the weights of a small model, the same ones each time."""
    import keras

    from keras_mrcnn.config import ModelConfig
    from keras_mrcnn.mask_rcnn.model import MaskRCNN

    keras.utils.set_random_seed(0)
    config = {
        "class_names": ("a", "b"), "min_size": 64, "max_size": 96, "backbone": {"depth": 18, "width": 0.125},
        "neck": {"channels": 8}, "rpn": {"pre_nms_test": 50, "post_nms_test": 20},
        "box_head": {"channels": 16, "max_detections": 10, "score_threshold": 0.0},
        "mask_head": {"channels": 8, "convolutions": 1},
    }  # fmt: skip
    MaskRCNN(ModelConfig.model_validate(config)).save_pretrained(path)
    return {"path": path}


if __name__ == "__main__":
    kinds = {"time": measure_time, "memory": measure_memory, "model": write_model}
    print(json.dumps(kinds[sys.argv[1]](*sys.argv[2:])))
