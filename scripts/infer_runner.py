"""Times one exported model on one picture of 800 x 1088; started by benchmark.py, a process for each run.

    python scripts/infer_runner.py saved_model saved_models/r50/1 paste
    python scripts/infer_runner.py onnx saved_models/r50.onnx nopaste

Prints one JSON line: median_s and min_s of a run, from the array of pixels to `Detections`, or with `paste` to masks
of the picture's size; detections; peak_memory_mb of the process, pictures and libraries included.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from peers.peak_memory import peak_memory_mb

from keras_mrcnn.base.records import Detections

HEIGHT, WIDTH, RUNS, WARM_UP = 800, 1088, 7, 2


def load_saved_model(path: str) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Returns a function that runs a SavedModel on an image, uint8 [H, W, 3]."""
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    detect = loaded.signatures["detect"]

    def run(image):
        outputs = detect(images=tf.constant(image[None]))
        return {name: value.numpy()[0] for name, value in outputs.items()}

    run.keeps = loaded  # the signature alone does not keep the variables
    return run


def load_onnx(path: str) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Returns a function that runs an ONNX file on an image, uint8 [H, W, 3]."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    return lambda image: dict(zip(names, (value[0] for value in session.run(names, {"images": image[None]}))))


def main(kind: str, path: str, paste: str) -> None:
    """Times one model and prints the figures as JSON."""
    run = {"saved_model": load_saved_model, "onnx": load_onnx}[kind](path)
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    names = {category: str(category) for category in range(1, 1000)}
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        detections = Detections.from_outputs(run(image), names, (HEIGHT, WIDTH))
        if paste == "paste":
            detections.paste_masks()
        seconds.append(time.perf_counter() - start)
    figures = {"median_s": statistics.median(seconds[WARM_UP:]), "min_s": min(seconds), "detections": len(detections)}
    print(json.dumps({**figures, "peak_memory_mb": peak_memory_mb()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
