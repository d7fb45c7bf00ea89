"""Measures this package beside its peers on one machine, and prints a table of ratios.

    python scripts/benchmark.py train --peer-python /path/to/torch/bin/python --json train.json
    python scripts/benchmark.py infer --peer-python /path/to/torch/bin/python --json infer.json
    python scripts/benchmark.py predict --weights model.safetensors --images photographs --json predict.json

Peers run in their own environment (`--peer-python`, which needs torch and torchvision, and for `infer` a C++ compiler,
onnx and onnxruntime). The peer of `predict` is the model's own SavedModel. Leave the machine alone meanwhile: every
figure is a median, but cores that are busy elsewhere show in all of them.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import click
from benchmark_data import measure_data
from benchmark_infer import measure_inference, run_program
from benchmark_parts import count_differences, measure_memory, measure_parts
from benchmark_predict import first_pictures, measure_prediction

from keras_mrcnn.base.atomic_files import atomic_write
from keras_mrcnn.base.tables import text_table

PEERS = Path(__file__).resolve().parent / "peers"
HEIGHT, WIDTH, OBJECTS, CLASSES = 800, 1088, 8, 90
PRECISIONS = {"float32": "fp32", "mixed_bfloat16": "bf16"}
PARTS = ("pictures", "parts", "memory", "kills")
TARGETS = {"float32": 0.6, "mixed_bfloat16": 0.8}


@click.group()
def main() -> None:
    """Measure training and inference beside the peers."""


@main.command()
@click.option("--peer-python", type=click.Path(dir_okay=False), help="Python with torch and torchvision.")
@click.option("--peers", type=click.Path(path_type=Path), default=PEERS, help="Folder with torchvision_train.py.")
@click.option("--steps", type=click.IntRange(4), default=8, help="Steps of each stage; the first 2 warm up.")
@click.option("--precision", "precisions", type=click.Choice(list(PRECISIONS)), multiple=True, default=list(PRECISIONS))
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the rows there too.")
def train(
    peer_python: str | None, peers: Path, steps: int, precisions: tuple[str, ...], json_file: Path | None
) -> None:
    """Time one image through the stages: R50-FPN, 800 x 1088, 8 objects, float32 and bfloat16.

    RPNStage from the image (backbone trained from ResNet's stage 3 up), BoxStage and MaskStage out of a warm feature
    cache; against torchvision's joint step on the same.
    """
    rows = []
    for precision in precisions:
        before = _peer_step(peer_python, peers, precision)
        ours = _stage_seconds(precision, steps)
        after = _peer_step(peer_python, peers, precision)
        peer = None if before is None else statistics.mean([before, after])
        total = ours["RPNStage"] + ours["BoxStage, cached"] + ours["MaskStage, cached"]
        rows += [_row(f"{name}, {precision}", seconds, None) for name, seconds in ours.items()]
        rows.append(_row(f"three stages, {precision}", total, peer, TARGETS[precision]))
        slow, fast = ours["BoxStage, no cache"], ours["BoxStage, cached"]
        rows.append(_row(f"BoxStage cached / not cached, {precision}", fast, slow, 0.2))
    _report(rows, json_file)


@main.command()
@click.option("--peer-python", type=click.Path(dir_okay=False), help="Python with torch and torchvision.")
@click.option("--peers", type=click.Path(path_type=Path), default=PEERS, help="Folder with torchvision_infer.py.")
@click.option("--rounds", type=click.IntRange(1), default=3, help="Processes of each kind, taking turns.")
@click.option("--models", type=click.Path(path_type=Path), help="Keep the exported models there, and use them again.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the rows there too.")
def infer(peer_python: str | None, peers: Path, rounds: int, models: Path | None, json_file: Path | None) -> None:
    """Time one image through the exported models: R50-FPN, 91 classes, 800 x 1088, 100 detections.

    To final detections and to pasted masks, in each precision; and the memory of a process that does it.
    """
    _report([_row(*row) for row in measure_inference(peer_python, peers, rounds, models)], json_file)


@main.command()
@click.option("--weights", type=click.Path(exists=True, path_type=Path), required=True, help="Of the model.")
@click.option("--images", type=click.Path(file_okay=False, exists=True, path_type=Path), required=True)
@click.option("--count", type=click.IntRange(1), default=24, help="How many of the images; the first 4 warm up.")
@click.option("--rounds", type=click.IntRange(1), default=3, help="How often each is measured, in turns.")
@click.option("--measure", "parts", type=click.Choice(PARTS), multiple=True, default=PARTS, help="What to measure.")
@click.option("--kills", type=click.IntRange(1), default=20, help="How often to kill the command.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the rows there too.")
def predict(
    weights: Path, images: Path, count: int, rounds: int, parts: tuple[str, ...], kills: int, json_file: Path | None
) -> None:
    """Time `keras-mrcnn predict` on the files of a folder beside the SavedModel and the network of the same weights.

    pictures: seconds for a picture that is drawn, without the start of the programs, and the memory of a process of
    each kind. parts: the same for rows in parts, beside the network on decoded pictures. memory: peaks with few and
    with many generated pictures and a small model. kills: whether a run that is killed and resumed writes the same.
    """
    rows = []
    if "pictures" in parts:
        rows += measure_prediction(weights, first_pictures(images, count), rounds)
    if "parts" in parts:
        rows += measure_parts(weights, first_pictures(images, count), rounds)
    if "memory" in parts:
        rows += measure_memory()
    if rows:
        _report([_row(*row) for row in rows], json_file)
    if "kills" in parts:
        click.echo(f"killed {kills} times and resumed: {count_differences(kills)} files differ")


@main.command()
@click.argument("annotations", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("images", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--peer-python", type=click.Path(dir_okay=False), help="Python with torch, torchvision and pycocotools.")
@click.option("--peers", type=click.Path(path_type=Path), default=PEERS, help="Folder with torchvision_data.py.")
@click.option("--cores", type=click.IntRange(1), default=2, help="Cores, and workers of the peer.")
@click.option("--rounds", type=click.IntRange(1), default=2, help="Processes of each kind, taking turns.")
@click.option("--seconds", type=click.IntRange(1), default=20, help="How long each process measures.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the rows there too.")
def data(
    annotations: Path,
    images: Path,
    peer_python: str | None,
    peers: Path,
    cores: int,
    rounds: int,
    seconds: int,
    json_file: Path | None,
) -> None:
    """Time training samples of 800 px photographs beside torchvision's reference transforms in a torch DataLoader.

    ANNOTATIONS is a COCO file, IMAGES the folder of its images. Rows are seconds a picture.
    """

    def peer(transforms: str, kind: str) -> list:
        return [peer_python, peers / "torchvision_data.py", annotations, images, transforms, kind, cores, seconds]

    rows = measure_data(annotations, images, peer if peer_python else None, rounds, seconds, cores)
    _report([_row(*row) for row in rows], json_file)


def _stage_seconds(precision, steps):
    """Returns the median seconds of a step of each stage, including the time to read its batch."""
    import keras

    from keras_mrcnn.config import load_config
    from keras_mrcnn.data.prepare import prepare_dataset
    from keras_mrcnn.mask_rcnn.model import MaskRCNN
    from keras_mrcnn.training.batches import StageBatches
    from keras_mrcnn.training.optimizers import SGD
    from keras_mrcnn.training.stages import BoxStage, MaskStage, RPNStage

    class Clock(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.times = []

        def on_train_batch_end(self, batch, logs=None):
            self.times.append(time.perf_counter())

    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        annotations, images = _one_picture(Path(folder))
        names = tuple(f"class {i + 1}" for i in range(CLASSES))
        settings = ("data.batch_size=1", "train.cache_features=on", "train.cache_epochs=2")
        epochs = ("train.box.epochs=12", "train.mask.epochs=12")
        config = load_config("coco-r50-fpn", (*settings, *epochs))
        config = config.model_copy(update={"model": config.model.model_copy(update={"class_names": names})})
        model, data = MaskRCNN(config.model, precision), prepare_dataset(annotations, images, Path(folder, "prepared"))
        for name, stage_class, mode in (
            ("RPNStage", RPNStage, "on"), ("BoxStage, cached", BoxStage, "on"),
            ("MaskStage, cached", MaskStage, "on"), ("BoxStage, no cache", BoxStage, "off"),
        ):  # fmt: skip
            train_config = config.train.model_copy(update={"cache_features": mode})
            batches = StageBatches(config.model_copy(update={"train": train_config}), data, folder, print, False)
            stage, clock = stage_class(model), Clock()
            stage.compile(SGD(1e-4, momentum=0.9))
            dataset = batches.dataset(stage_class.__name__[:-5].lower(), model, 0)
            stage.fit(dataset, steps_per_epoch=steps, verbose=0, callbacks=[clock])
            spans = [after - before for before, after in zip(clock.times, clock.times[1:])]
            seconds[name] = statistics.median(spans[1:])
    return seconds


def _one_picture(folder):
    """Writes a picture with the objects of the peer's, and returns the annotation file and the image folder."""
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
    Image.fromarray(noise).resize((WIDTH, HEIGHT)).save(folder / "picture.jpg", quality=92)
    annotations = []
    for i in range(OBJECTS):
        x1, y1, x2, y2 = (min(side, HEIGHT - 1) for side in (50 + 60 * i, 40 + 50 * i, 250 + 80 * i, 240 + 60 * i))
        annotations.append({
            "id": i + 1, "image_id": 1, "category_id": i + 1, "iscrowd": 0, "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1), "segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]],
        })  # fmt: skip
    content = {
        "images": [{"id": 1, "file_name": "picture.jpg", "height": HEIGHT, "width": WIDTH}],
        "annotations": annotations,
        "categories": [{"id": i + 1, "name": f"class {i + 1}"} for i in range(CLASSES)],
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path, folder


def _peer_step(python, folder, precision):
    """Returns torchvision's median seconds for a joint step; None without `--peer-python`."""
    if python is None:
        return None
    script = folder / "torchvision_train.py"
    if not script.is_file():
        raise click.UsageError(f"{script}: no such file; name the folder of the peers with --peers")
    return run_program([python, script, PRECISIONS[precision]])["median_s"]


def _row(name, ours, peer, target=None):
    ratio = None if peer is None else round(ours / peer, 3)
    row = {"name": name, "ours_s": round(ours, 4), "peer_s": None if peer is None else round(peer, 4), "ratio": ratio}
    return {**row, "target": target}


def _report(rows, json_file):
    lines = [["", "ours s", "peer s", "ratio", "target"]]
    for row in rows:
        lines.append([row["name"], *("" if row[key] is None else f"{row[key]:.3f}" for key in list(row)[1:])])
    click.echo(text_table(lines))
    if json_file:
        with atomic_write(json_file) as temporary:
            temporary.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    sys.exit(main())
