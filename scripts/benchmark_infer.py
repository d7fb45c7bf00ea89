"""Measures exported models for `benchmark.py infer`, each in a process of its own, in turns with its peer."""

from __future__ import annotations

import functools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from keras_mrcnn import MaskRCNN

RUNNER = Path(__file__).with_name("infer_runner.py")
CLASSES, SPREAD = 90, 3.0
PASTE_RUNS = 9

# name, our variant, its form, paste, the arguments of the peer (or our variant to compare with), goal
ROWS = (
    ("SavedModel float32, detections", "r50", "saved_model", "nopaste", ("fp32", "nopaste"), 0.75),
    ("SavedModel float32, pasted", "r50", "saved_model", "paste", ("fp32", "paste"), 0.75),
    ("ONNX Runtime float32, detections", "r50.onnx", "onnx", "nopaste", ("fp32", "nopaste", "onnx"), 0.75),
    ("SavedModel bfloat16, detections", "r50-bfloat16", "saved_model", "nopaste", ("bf16", "nopaste"), 0.80),
    ("SavedModel bfloat16, pasted", "r50-bfloat16", "saved_model", "paste", ("bf16", "paste"), 0.80),
    ("ONNX Runtime int8, against our bfloat16", "r50-int8.onnx", "onnx", "nopaste", "r50-bfloat16", 1.0),
)


def measure_inference(peer_python: str | None, peers: Path, rounds: int, models: Path | None) -> list[tuple]:
    """Measures all variants and returns rows (name, ours, peer or None, goal): seconds, then megabytes."""
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) if models is None else models
        export_models(models)
        rows, memory = [], []
        for name, variant, form, paste, against, goal in ROWS:
            click.echo(f"{name} ...", err=True)
            ours, peer = [], []
            for _ in range(rounds):
                if isinstance(against, str):
                    peer.append(_run_ours("saved_model", models / against / "1", paste))
                elif peer_python is not None:
                    peer.append(run_program([peer_python, peers / "torchvision_infer.py", *against]))
                path = models / variant / "1" if form == "saved_model" else models / variant
                ours.append(_run_ours(form, path, paste))
            rows.append((name, *(_median(runs, "median_s") for runs in (ours, peer)), goal))
            if paste == "paste" or form == "onnx":
                sizes = [_median(runs, "peak_memory_mb") for runs in (ours, peer)]
                memory.append((f"peak memory MB: {name}", *sizes, 1.0 if "float32" in name else None))
        rows.append(("pasting 100 masks", *_pasting(peer_python, peers, rounds), 0.5))
        return [*rows, *memory]


def export_models(folder: Path) -> None:
    """Exports the network in every variant that the folder lacks."""
    from keras_mrcnn.export.int8 import quantize_onnx
    from keras_mrcnn.export.onnx import export_onnx
    from keras_mrcnn.export.saved_model import export_saved_model

    for variant, write in (
        ("r50/1", lambda: export_saved_model(random_model(), folder / "r50", 1)),
        ("r50-bfloat16/1", lambda: export_saved_model(random_model(), folder / "r50-bfloat16", 1, "bfloat16")),
        ("r50.onnx", lambda: export_onnx(random_model(), folder / "r50.onnx")),
        ("r50-int8.onnx", lambda: quantize_onnx(folder / "r50.onnx", folder / "r50-int8.onnx", [_picture()] * 2)),
    ):
        if not (folder / variant).exists():
            start = time.perf_counter()
            write()
            click.echo(f"exported {variant} in {time.perf_counter() - start:.0f} s", err=True)


def _picture():
    import numpy as np

    return np.random.default_rng(0).integers(0, 256, (800, 1088, 3), np.uint8)


@functools.cache
def random_model() -> MaskRCNN:
    """Makes a model with random weights; its class scores differ like trained ones, so it has 100 detections."""
    import keras
    import numpy as np
    import tensorflow as tf

    from keras_mrcnn.config import load_config
    from keras_mrcnn.mask_rcnn.model import MaskRCNN
    from keras_mrcnn.ops.images import normalise

    keras.utils.set_random_seed(0)
    config = load_config("coco-r50-fpn", ("model.backbone.stride_in=3x3",)).model
    ids = {"class_names": tuple(f"class {i + 1}" for i in range(CLASSES)), "category_ids": tuple(range(1, CLASSES + 1))}
    model = MaskRCNN(config.model_copy(update=ids))
    images = normalise(_picture()[None, :320, :320])
    features = model.extract_features(images)
    proposals = model.propose(features, images, tf.constant([[320, 320]]))
    logits, _ = model.box_head(model.box_pool(model.roi_features(features), proposals.boxes))
    kernel = model.box_head.classes.kernel
    kernel.assign(np.asarray(kernel.numpy()) * SPREAD / np.std(logits))
    return model


def _pasting(peer_python, peers, rounds):
    """Returns our median seconds and torchvision's for the same boxes, with sides of 40 to 400 pixels."""
    import numpy as np

    from keras_mrcnn.base.records import Detections

    random, count = np.random.default_rng(0), 100
    sides = random.uniform(40, 400, (count, 2))
    corners = random.uniform(0, 1, (count, 2)) * ([1088, 800] - sides)
    boxes = np.concatenate([corners, corners + sides], axis=1).astype(np.float32)
    masks = random.uniform(0, 1, (count, 28, 28)).astype(np.float32)
    detections = Detections(boxes, np.ones(count), np.ones(count, np.int32), ("x",) * count, masks, (800, 1088))
    ours, peer = [], []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "masks.npz")
        np.savez(file, boxes=boxes, masks=masks, size=[800, 1088])
        for _ in range(rounds):
            if peer_python is not None:
                peer.append(run_program([peer_python, peers / "torchvision_paste.py", file])["median_s"])
            for _ in range(PASTE_RUNS):
                start = time.perf_counter()
                detections.paste_masks()
                ours.append(time.perf_counter() - start)
    return statistics.median(ours), statistics.median(peer) if peer else None


def _run_ours(form, path, paste):
    return run_program([sys.executable, RUNNER, form, path, paste])


def run_program(command: list, reads_json: bool = True) -> dict | None:
    """Runs a program to its end and returns the JSON line that it prints last, if it prints one.

    Raises:
        ClickException: the program failed; the message is the last line of its stderr.
    """
    command = [str(part) for part in command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        problem = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise click.ClickException(f"{' '.join(command[1:4])} failed: {problem}")
    return json.loads(done.stdout.strip().splitlines()[-1]) if reads_json else None


def _median(runs, key):
    return statistics.median(run[key] for run in runs) if runs else None
