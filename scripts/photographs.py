"""Trains recipes on small sets of photographs, from ImageNet weights, and makes one table of their scores and times.

    python scripts/photographs.py train shared/data --weights imagenet --json docs/photographs.json \\
        --out runs/photographs --data penn-fudan --recipe joint --recipe frozen --seed 0 --seed 1
    python scripts/photographs.py table docs/photographs.json

photographs_recipes.py has the data sets and recipes, which are a few settings on top of a preset. Each run is a
`keras-mrcnn train` in a process of its own. A run that is in the JSON file already is not repeated, and one that was
interrupted goes on from its last epoch. Minutes are those of the stages in metrics.json, with reading and compilation
and without evaluation; processor minutes are those of the whole command, over all cores.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from photographs_recipes import DATA_SETS, PRESET, RECIPES, STAGES, DataSet, settings_of

from keras_mrcnn.base.atomic_files import atomic_write
from keras_mrcnn.base.tables import format_value

SCORES = (("box", "AP"), ("box", "AP50"), ("mask", "AP"), ("mask", "AP50"))
COLUMNS = ("data", "recipe", "seed", "epochs", "minutes", "processor minutes", "GB", *(" ".join(s) for s in SCORES))


def merge_annotations(root: Path, parts: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Joins COCO files that have the same categories into one.

    Args:
        root: folder that the file names of the merged images are relative to.
        parts: annotation file and image folder of each, relative to `root`.

    Returns:
        A COCO dict; images and annotations are numbered anew.

    Raises:
        ValueError: the files have different categories.
    """
    merged: dict[str, Any] = {"images": [], "annotations": [], "categories": None}
    for file, images in parts:
        content = json.loads((root / file).read_text(encoding="utf-8"))
        categories = [{"id": category["id"], "name": category["name"]} for category in content["categories"]]
        if merged["categories"] not in (None, categories):
            raise ValueError(f"{root / file}: has other categories than {root / parts[0][0]}")
        merged["categories"] = categories
        numbers = {image["id"]: len(merged["images"]) + n for n, image in enumerate(content["images"], start=1)}
        for image in content["images"]:
            name = f"{images}/{image['file_name']}"
            merged["images"].append({**image, "id": numbers[image["id"]], "file_name": name})
        for annotation in content["annotations"]:
            number = len(merged["annotations"]) + 1
            merged["annotations"].append({**annotation, "id": number, "image_id": numbers[annotation["image_id"]]})
    return merged


def write_annotations(data: DataSet, root: Path, out: Path) -> dict[str, Path]:
    """Writes the annotation files of a data set, with image names relative to `root`; returns them by split."""
    files = {}
    for split in ("train", "val"):
        file = f"annotations/{data.prefix}{split}.json"
        parts = [(f"{folder}/{file}", f"{folder}/images/{split}") for folder in data.folders]
        files[split] = out / "annotations" / f"{data.name}-{split}.json"
        files[split].parent.mkdir(parents=True, exist_ok=True)
        files[split].write_text(json.dumps(merge_annotations(root, parts)), encoding="utf-8")
    return files


def train(data: DataSet, recipe: str, seed: int, root: Path, weights: str, out: Path) -> dict[str, Any]:
    """Trains one recipe, or the rest of it, and returns its row of the JSON file."""
    run = out / "-".join(f"{data.name} {recipe} {seed}".replace(",", "").split())
    files = write_annotations(data, root, out)
    settings = settings_of(data, RECIPES[recipe])
    places = {f"data.{split}_annotations": str(file) for split, file in files.items()}
    places.update({f"data.{split}_images": str(root) for split in files})
    changes = {**places, "model.backbone.weights": weights, **settings}
    command = ["train", "--preset", PRESET, "--seed", str(seed)]
    command += [part for key, value in changes.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    if (run / "checkpoint.safetensors").is_file():
        command = ["train", "--resume"]
    usage = run_command([*command, "--run", str(run)])
    processor_seconds = usage.ru_utime + usage.ru_stime
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    stages = {name: metrics["training"][name] for name in STAGES if metrics["training"].get(name, {}).get("epochs")}
    return {
        "data": data.name,
        "recipe": recipe,
        "seed": seed,
        "settings": settings,
        "resumed": "--resume" in command,
        "processor_seconds": round(processor_seconds),
        "stages": stages,
        **{part: metrics[part] for part in ("rpn", "box", "mask") if part in metrics},
    }


def run_command(arguments: Sequence[str]) -> Any:
    """Runs keras-mrcnn with its output on the terminal; returns its resource usage."""
    process = subprocess.Popen([sys.executable, "-m", "keras_mrcnn", *arguments])
    try:
        _, status, usage = os.wait4(process.pid, 0)  # Popen itself does not tell the usage
        process.returncode = os.waitstatus_to_exitcode(status)
    except KeyboardInterrupt:
        process.wait()  # until it has saved what it had
        raise
    if process.returncode:
        raise click.ClickException(f"failed: keras-mrcnn {shlex.join(arguments)}")
    return usage


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Returns the rows of the JSON file; none if it does not exist."""
    return json.loads(file.read_text(encoding="utf-8"))["runs"] if file.is_file() else []


def write_rows(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the JSON file."""
    with atomic_write(file) as temporary:
        temporary.write_text(json.dumps({"runs": rows}, indent=1) + "\n", encoding="utf-8")


def key_of(row: Mapping[str, Any]) -> tuple:
    """Returns what tells a run from others."""
    return row["data"], row["recipe"], row["seed"]


def table_row(row: Mapping[str, Any]) -> tuple:
    """Returns the cells of a run, as `COLUMNS` names them."""
    stages = row["stages"].values()
    epochs = " + ".join(str(stage["epochs"]) for stage in stages)
    minutes = sum(stage["seconds"] for stage in stages) / 60
    # Of a run that has been interrupted only the times of its last part are known.
    times = ("-", "-") if row["resumed"] else (f"{minutes:.0f}", f"{row['processor_seconds'] / 60:.0f}")
    memory = max((stage.get("peak_memory_mb", 0) for stage in stages), default=0) / 1024
    scores = (row[part][score] for part, score in SCORES)
    return (*key_of(row), epochs, *times, f"{memory:.1f}", *map(format_value, scores))


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Formats the runs as a Markdown table, data set by data set."""
    order = {name: number for number, name in enumerate(DATA_SETS)}
    cells = [table_row(row) for row in sorted(rows, key=lambda row: order.get(row["data"], len(order)))]
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *cells]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


@click.group()
def main() -> None:
    """Train recipes on photographs, and print their table."""


@main.command("train")
@click.argument("root", type=click.Path(exists=True, path_type=Path))
@click.option("--json", "file", type=click.Path(path_type=Path), required=True, help="File of all results.")
@click.option("--out", type=click.Path(path_type=Path), default="runs/photographs", help="Folder of the runs.")
@click.option("--weights", default="imagenet", help="Of the backbone: imagenet, or a keras.applications .h5 file.")
@click.option("--data", "names", multiple=True, type=click.Choice(list(DATA_SETS)), help="Default: all.")
@click.option("--recipe", "recipes", multiple=True, type=click.Choice(list(RECIPES)), default=("joint",))
@click.option("--seed", "seeds", multiple=True, type=click.IntRange(0), default=(0,))
def train_all(
    root: Path,
    file: Path,
    out: Path,
    weights: str,
    names: tuple[str, ...],
    recipes: tuple[str, ...],
    seeds: tuple[int, ...],
) -> None:
    """Train every recipe on every data set in ROOT, with every seed."""
    root = root.resolve()
    for key in [(name, recipe, seed) for name in names or DATA_SETS for recipe in recipes for seed in seeds]:
        if key not in map(key_of, read_rows(file)):
            name, recipe, seed = key
            row = train(DATA_SETS[name], recipe, seed, root, weights, out)
            write_rows(file, [*read_rows(file), row])  # read again, for another process may have added to it
            click.echo(markdown(read_rows(file)))


@main.command("table")
@click.argument("file", type=click.Path(exists=True, path_type=Path))
def print_table(file: Path) -> None:
    """Print the table of the results in FILE."""
    click.echo(markdown(read_rows(file)))


if __name__ == "__main__":
    main()
