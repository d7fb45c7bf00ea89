"""Do all ways from a picture to detections agree? Sends the same pictures through each, and compares and scores them.

    python scripts/compare_ways.py saved_models/demo.safetensors coco-mini/annotations/vehicle_person_animal_val.json \
        --images coco-mini/images/val --limit 50

The ways are MaskRCNN.predict on the files, Detector on their pixels, the command `predict`, and SavedModel and ONNX
Runtime in processes that cannot import this package. All are compared with MaskRCNN.predict: images with other counts
or labels, the greatest difference of a score and of a box in pixels, and the AP of boxes and masks.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import click
import numpy as np
from compare_exports import newest_version, run_runtime
from run_exported import read_picture

from keras_mrcnn.base.records import Detections
from keras_mrcnn.base.tables import text_table

if TYPE_CHECKING:
    from pycocotools.coco import COCO

    from keras_mrcnn import MaskRCNN

GOAL = 0.01  # pixels, between the boxes of any two ways
HEAD = ("way", "detections", "unlike images", "score", "box, px", "box AP", "mask AP")
Results = list[dict]  # detections as COCO results
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def run_command(weights: Path, annotations: Path, files: Iterable[Path]) -> Results:
    """Returns what the command `predict` writes."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "keras_mrcnn", "predict", weights, *files, "--out", folder]
        subprocess.run([*map(str, command), "--annotations", str(annotations)], check=True, stdout=subprocess.DEVNULL)
        return json.loads(Path(folder, "detections.json").read_text(encoding="utf-8"))


def run_exported(runtime: str, model: Path, files: Mapping[int, Path], names: Mapping[int, str]) -> Results:
    """Returns what an exported file gives, in a process that cannot import this package."""
    answers, results = run_runtime(runtime, model, files.values()), []
    for row, (image_id, file) in enumerate(files.items()):
        outputs = {name: values[row] for name, values in answers.items()}
        results += Detections.from_outputs(outputs, names, read_picture(file).shape[:2]).to_coco(image_id)
    return results


def to_results(files: Mapping[int, Path], detections: Iterable[Detections]) -> Results:
    """Returns detections as COCO results."""
    return [result for image_id, found in zip(files, detections) for result in found.to_coco(image_id)]


def export(weights: Path, folder: Path) -> tuple[Path, Path]:
    """Exports a model and returns the folder of the SavedModel and the ONNX file."""
    command = [sys.executable, "-m", "keras_mrcnn", "export", str(weights), "--name", "model", "--out", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return newest_version(folder / "model"), folder / "model.onnx"


def by_image(results: Results) -> dict[int, Results]:
    """Returns the results of each image, best first."""
    grouped: dict[int, Results] = {}
    for result in results:
        grouped.setdefault(result["image_id"], []).append(result)
    return grouped


def difference(results: Results, expected: Results) -> tuple[int, float, float]:
    """Returns the number of images with other counts or labels, and the greatest difference of a score and of a box."""
    own, reference = by_image(results), by_image(expected)
    unlike, score, box = 0, 0.0, 0.0
    for image_id in {*own, *reference}:
        pair = own.get(image_id, []), reference.get(image_id, [])
        labels = [[result["category_id"] for result in side] for side in pair]
        if labels[0] != labels[1]:
            unlike += 1
            continue
        scores, boxes = (np.array([[result[key] for result in side] for side in pair]) for key in ("score", "bbox"))
        boxes[..., 2:] += boxes[..., :2]
        score = max(score, float(np.abs(scores[0] - scores[1]).max()))
        box = max(box, float(np.abs(boxes[0] - boxes[1]).max()))
    return unlike, score, box


def average_precision(coco: COCO, results: Results, image_ids: Iterable[int]) -> list[float]:
    """Returns the AP of boxes and of masks on the images."""
    from keras_mrcnn.evaluation.coco_metrics import evaluate_detections

    return [evaluate_detections(coco, results, kind, image_ids)["AP"] for kind in ("bbox", "segm")]


def all_ways(model: MaskRCNN, weights: Path, annotations: Path, files: Mapping[int, Path]) -> dict[str, Results]:
    """Returns the results of every way, MaskRCNN.predict first."""
    names = dict(zip(model.config.category_ids, model.config.class_names))
    ways = {
        "MaskRCNN.predict": to_results(files, model.predict(list(files.values()), verbose=0)),
        "Detector": to_results(files, model.detector([read_picture(file) for file in files.values()])),
        "keras-mrcnn predict": run_command(weights, annotations, files.values()),
    }
    with tempfile.TemporaryDirectory() as folder:
        saved_model, onnx = export(weights, Path(folder))
        ways["SavedModel"] = run_exported("saved_model", saved_model, files, names)
        ways["ONNX Runtime"] = run_exported("onnxruntime", onnx, files, names)
    return ways


@click.command()
@click.argument("weights", type=FILE)
@click.argument("annotations", type=FILE)
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--limit", type=click.IntRange(1), help="Use the first so many images.")
def main(weights: Path, annotations: Path, images: Path, limit: int | None) -> None:
    """Compare all ways from pictures to detections with the model of WEIGHTS, and score them on ANNOTATIONS."""
    from keras_mrcnn import CocoDataset, MaskRCNN

    model = MaskRCNN.from_preset(weights)
    dataset = CocoDataset(annotations, images, model.config.class_names)
    files = {image_id: dataset.image_path(image_id) for image_id in dataset.image_ids[:limit]}
    # The categories of the model have their own ids.
    own = dict(zip(model.config.class_names, model.config.category_ids))
    theirs = {own[name]: number for name, number in zip(dataset.class_names, dataset.category_ids)}
    rows, alike, expected = [HEAD], True, None
    for name, results in all_ways(model, weights, annotations, files).items():
        expected = results if expected is None else expected
        unlike, score, box = difference(results, expected)
        scored = [{**result, "category_id": theirs[result["category_id"]]} for result in results]
        precision = (f"{value:.4f}" for value in average_precision(dataset.coco, scored, list(files)))
        rows.append((name, str(len(results)), str(unlike), f"{score:.1e}", f"{box:.1e}", *precision))
        alike = alike and not unlike and box <= GOAL
    click.echo(text_table([*rows, ("goal", "", "0", "", f"{GOAL:.0e}", "", "")]))
    if not alike:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
