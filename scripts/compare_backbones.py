"""Trains ResNet-18 and networks of keras.applications on generated scenes for equal times, and compares them.

    keras-mrcnn data scenes data/scenes --train 3000 --val 150 --seed 0
    python scripts/compare_backbones.py data/scenes --minutes 10 --out runs/backbones

All have the settings of the preset scenes-small, no pretrained weights, and its share of steps in each stage. How many
steps fit into the minutes follows from the joint stage, the slowest, which is tried for a few steps first. Evaluation
and exports come on top. A run that is there already is not repeated; delete NAME.json to measure it again. The table
has box and mask AP on the validation scenes, millions of parameters, milliseconds a picture (median) and, for each
runtime, whether its detections are those of the Python model, see compare_exports.py.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import click
import numpy as np
from compare_exports import Comparison, newest_version
from run_exported import open_onnxruntime, open_saved_model, read_picture

from keras_mrcnn.base.tables import text_table
from keras_mrcnn.config import load_config

HERE = Path(__file__).resolve().parent
RESNET = "ResNet-18"
DEFAULT = ("MobileNetV3Large", "EfficientNetV2B0", "DenseNet121")
EPOCHS = {"rpn": 2, "box": 1, "mask": 1, "joint": 7}  # those of the preset
FEW_STEPS, MORE_STEPS = 3, 13
TIMED_PICTURES = 20
HEAD = ("backbone", "box AP", "mask AP", "parameters", "SavedModel", "ONNX", "steps", "parity")


def command_line(*arguments: Any) -> None:
    """Runs keras-mrcnn with its output on the terminal."""
    subprocess.run([sys.executable, "-m", "keras_mrcnn", *map(str, arguments)], check=True)


def settings_of(name: str) -> tuple[str, ...]:
    """Returns options that set a backbone: one of keras.applications learns all of its weights, like ResNet-18."""
    return () if name == RESNET else ("--set", f"model.backbone={{name: {name}, norm: bn, freeze_stages: 0}}")


def train(name: str, data: Path, run: Path, epochs: dict[str, int], steps: int) -> None:
    """Trains each stage for its number of epochs, each of `steps` steps."""
    changes = [f"train.{stage}.{key}" for stage in EPOCHS for key in ("epochs", "steps_per_epoch")]
    values = [value for stage in EPOCHS for value in (epochs[stage], steps)]
    sets = [item for key, value in zip(changes, values) for item in ("--set", f"{key}={value}")]
    command_line("train", "--preset", "scenes-small", "--data", data, "--run", run, *settings_of(name), *sets)


def seconds_per_step(name: str, data: Path, folder: Path) -> float:
    """Measures a step of the joint stage by two short trainings, whose difference has only steps in it."""
    seconds = []
    for steps in (FEW_STEPS, MORE_STEPS):
        start = time.perf_counter()
        train(name, data, folder / f"try-{name}-{steps}", {**dict.fromkeys(EPOCHS, 0), "joint": 1}, steps)
        seconds.append(time.perf_counter() - start)
    return max(seconds[1] - seconds[0], 1e-3) / (MORE_STEPS - FEW_STEPS)


def milliseconds(run: Callable[[np.ndarray], Any], pictures: Iterable[np.ndarray]) -> float:
    """Returns the median time of a picture, without the first one."""
    times = []
    for picture in pictures:
        start = time.perf_counter()
        run(picture)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[1:])


def measure(name: str, run: Path, folder: Path, images: Path, limit: int | None) -> dict[str, Any]:
    """Returns a row of the table as a dict, from the files of the run and its exports."""
    from keras_mrcnn import MaskRCNN
    from keras_mrcnn.export.model_card import count_parameters

    saved_model, onnx, parity = folder / name, folder / f"{name}.onnx", folder / f"{name}-parity.json"
    if not onnx.is_file():
        command_line("export", run, "--name", name, "--out", folder)
    compared = [run, "--images", images, "--saved-model", saved_model, "--onnx", onnx, "--json", parity]
    limited = ("--limit", limit) if limit else ()
    # Its exit status is 1 if a runtime misses a goal, which the table says, too.
    subprocess.run([sys.executable, *map(str, (HERE / "compare_exports.py", *compared, *limited))], check=False)
    compared_rows = json.loads(parity.read_text(encoding="utf-8"))["rows"]
    scores = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    pictures = [read_picture(path) for path in sorted(images.iterdir())[: TIMED_PICTURES + 1]]
    return {
        "backbone": name,
        "box AP": scores["box"]["AP"],
        "mask AP": scores["mask"]["AP"],
        "parameters": count_parameters(MaskRCNN.from_preset(run / "model.safetensors")),
        "SavedModel": milliseconds(open_saved_model(str(newest_version(saved_model))), pictures),
        "ONNX": milliseconds(open_onnxruntime(str(onnx)), pictures),
        "parity": [{**row, "meets goals": Comparison(**row).meets_goals()} for row in compared_rows],
    }


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Formats the rows as text."""
    lines = [HEAD]
    for row in rows:
        parity = ", ".join(f"{one['runtime']} {'yes' if one['meets goals'] else 'NO'}" for one in row["parity"])
        scores, times = (f"{row['box AP']:.3f}", f"{row['mask AP']:.3f}"), (row["SavedModel"], row["ONNX"])
        size = f"{row['parameters'] / 1e6:.1f} M"
        lines.append((row["backbone"], *scores, size, *(f"{ms:.0f} ms" for ms in times), str(row["steps"]), parity))
    return text_table(lines, left_columns=len(HEAD))


@click.command()
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option("--minutes", type=float, default=10, help="Training time of each backbone.")
@click.option("--steps", type=click.IntRange(1), help="Steps an epoch, instead of minutes.")
@click.option("--backbone", "names", multiple=True, help=f"Instead of {', '.join(DEFAULT)}; can be repeated.")
@click.option("--limit", type=click.IntRange(1), help="Compare detections on so many pictures only.")
@click.option("--out", type=click.Path(path_type=Path), default="runs/backbones", help="Folder for everything.")
def main(
    data: Path, minutes: float, steps: int | None, names: tuple[str, ...], limit: int | None, out: Path
) -> None:
    """Compare backbones on the scenes in DATA."""
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in (RESNET, *(names or DEFAULT)):
        run, record = out / f"run-{name}", out / f"{name}.json"
        if not (run / "model.safetensors").is_file():
            chosen = steps or max(1, int(60 * minutes / (sum(EPOCHS.values()) * seconds_per_step(name, data, out))))
            train(name, data, run, EPOCHS, chosen)
        if not record.is_file():
            taken = sum(EPOCHS.values()) * load_config(run / "config.yaml").train.joint.steps_per_epoch
            row = {**measure(name, run, out, data / "images" / "val", limit), "steps": taken}
            record.write_text(json.dumps(row, indent=1), encoding="utf-8")
        rows.append(json.loads(record.read_text(encoding="utf-8")))
        click.echo(table(rows))


if __name__ == "__main__":
    main()
