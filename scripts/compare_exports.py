"""Do the exported files give the Python model's detections? Compares them on a folder of images, one by one.

    python scripts/compare_exports.py runs/quickstart --images coco-mini/images/val --json parity.json \
        --saved-model saved_models/scenes --onnx saved_models/scenes.onnx

The SavedModel (both signatures), ONNX Runtime and OpenVINO run in processes of their own that cannot import this
package. Where OpenVINO is not installed its row is left out.

Two detections are the same one where the category is the same and the boxes are at most 1 px apart, nearest first.
Images where some detection has no partner are "unlike", but for ties, which are counted apart: where scores are equal
to 1e-6, each runtime may sort, keep through NMS, cut at the greatest number or take over the score threshold another
one; and where two boxes of a class overlap by just the limit of NMS, to 1e-5, each may drop or keep the worse.
"order" counts what else stands at another place, for scores that are nearer than the runtimes' rounding.
Masks leave as bytes and are held against the Python model's unrounded probabilities, so rounding costs 1.96e-3.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import click
import numpy as np
from run_exported import MISSING, read_picture

from keras_mrcnn.base.iou import box_iou, match_pairs
from keras_mrcnn.base.tables import text_table

if TYPE_CHECKING:
    from keras_mrcnn import MaskRCNN

GOALS = {"score": 1e-4, "box": 0.05, "mask": 2e-3}
SAME_BOX, TIE, IOU_TIE = 1.0, 1e-6, 1e-5  # pixels; difference of two scores; of an IoU and the limit of NMS
PROGRAM = Path(__file__).resolve().with_name("run_exported.py")
HEAD = ("runtime", "images", "detections", "unlike", "order", "ties", "score", "box, px", "mask")
PATH = click.Path(exists=True, path_type=Path)
Arrays = dict[str, Any]  # outputs by name, without padding, and whether they are full


class NotInstalledError(RuntimeError):
    """A runtime is not installed; the message names it."""


@dataclass
class Comparison:
    """How the detections of one runtime differ, over all images; the last three are the greatest differences."""

    runtime: str
    images: int = 0
    detections: int = 0
    unlike: list[str] = field(default_factory=list)
    order: int = 0
    ties: int = 0
    score: float = 0.0
    box: float = 0.0
    mask: float = 0.0

    def add(self, name: str, outputs: Arrays, expected: Arrays, threshold: float, nms_iou: float) -> None:
        """Adds one image; `outputs` and `expected` are dicts of arrays without padding."""
        rows, expected_rows, distance = pair(outputs, expected)
        self.images += 1
        self.detections += len(expected["scores"])
        ties, unexplained = lone_detections(outputs, expected, rows, expected_rows, threshold, nms_iou)
        swapped, tied = other_places(rows, expected_rows, expected["scores"])
        self.ties += ties + tied
        self.order += swapped - tied
        if unexplained:
            self.unlike.append(name)
        if len(rows):
            masks = outputs["masks"][rows].astype(np.float64) / 255 - expected["probabilities"][expected_rows]
            self.score = max(
                self.score, float(np.abs(outputs["scores"][rows] - expected["scores"][expected_rows]).max())
            )
            self.box = max(self.box, float(distance.max()))
            self.mask = max(self.mask, float(np.abs(masks).max()))

    def meets_goals(self) -> bool:
        """Returns whether all images have the same detections, within the goals."""
        return not self.unlike and all(getattr(self, name) <= goal for name, goal in GOALS.items())


def pair(outputs: Arrays, expected: Arrays) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs the detections that both have.

    Returns:
        rows int [P] in `outputs`; rows int [P] in `expected`, rising; and the distances of the boxes in pixels.
    """
    distance = np.abs(outputs["boxes"][None].astype(np.float64) - expected["boxes"][:, None]).max(axis=-1, initial=0)
    distance[outputs["category_ids"][None] != expected["category_ids"][:, None]] = np.inf
    expected_rows, rows = np.array(sorted(match_pairs(-distance, -SAME_BOX)), int).reshape(-1, 2).T
    return rows, expected_rows, distance[expected_rows, rows]


def lone_detections(
    outputs: Arrays,
    expected: Arrays,
    rows: np.ndarray,
    expected_rows: np.ndarray,
    threshold: float,
    nms_iou: float,
) -> tuple[int, int]:
    """Counts the detections without a partner that a tie explains, and those that it does not."""
    sides = [(outputs, np.setdiff1d(np.arange(len(outputs["scores"])), rows))]
    sides.append((expected, np.setdiff1d(np.arange(len(expected["scores"])), expected_rows)))
    explained = []
    for (own, lone), (other, other_lone) in (sides, sides[::-1]):
        by_nms = own["category_ids"][lone, None] == other["category_ids"][other_lone]
        by_nms &= np.abs(own["scores"][lone, None] - other["scores"][other_lone]) <= TIE
        bounds = [threshold, other["scores"][-1]] if other["full"] else [threshold]
        at_bound = np.abs(own["scores"][lone, None] - np.array(bounds)) <= TIE
        at_limit = np.abs(box_iou(own["boxes"][lone], other["boxes"]) - nms_iou) <= IOU_TIE
        at_limit &= own["category_ids"][lone, None] == other["category_ids"]
        explained.append(by_nms.any(axis=1) | at_bound.any(axis=1) | at_limit.any(axis=1))
    ties = max(int(values.sum()) for values in explained)
    return ties, sum(int((~values).sum()) for values in explained)


def other_places(rows: np.ndarray, expected_rows: np.ndarray, scores: np.ndarray) -> tuple[int, int]:
    """Counts the pairs whose order differs, and those among them that tie with the expected detection."""
    places = np.argsort(np.argsort(rows))
    moved = places != np.arange(len(rows))
    tied = np.abs(scores[expected_rows][places] - scores[expected_rows]) <= TIE
    return int(moved.sum()), int((moved & tied).sum())


def compare(
    runtime: str,
    names: Iterable[str],
    answers: Mapping[str, np.ndarray],
    expected: Iterable[Arrays],
    threshold: float,
    nms_iou: float,
) -> Comparison:
    """Compares a runtime's answers, a dict of arrays for all images, with a list of the Python model's."""
    result = Comparison(runtime)
    for row, (name, expected_outputs) in enumerate(zip(names, expected)):
        outputs = unpadded({key: value[row] for key, value in answers.items()})
        result.add(name, outputs, expected_outputs, threshold, nms_iou)
    return result


def unpadded(outputs: Mapping[str, np.ndarray]) -> Arrays:
    """Returns the outputs of an image without padding; full says that there was no room for more."""
    count = int(outputs["valid"])
    rows = {name: value[:count] for name, value in outputs.items() if name != "valid"}
    return {**rows, "full": count == len(outputs["scores"]) > 0}


def python_model(model: MaskRCNN) -> Callable[[np.ndarray], Arrays]:
    """Returns a function that runs the Python model on an image, uint8 [H, W, 3]; its masks are probabilities."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])
    def detect(image):
        inputs = model.preprocess(image[None])
        outputs = model(inputs)
        final = model.postprocess(outputs, inputs["image_sizes"][0], tf.shape(image)[:2])
        arrays = {name: value[0] for name, value in {**final, "probabilities": outputs["masks"]}.items()}
        return {name: value for name, value in arrays.items() if name != "masks"}

    return lambda image: unpadded({name: value.numpy() for name, value in detect(image).items()})


def run_runtime(
    runtime: str, model: Path, paths: Iterable[Path], python: str = sys.executable
) -> dict[str, np.ndarray]:
    """Runs one runtime on image files in a process of its own and returns its answers.

    Raises:
        NotInstalledError: the runtime is not installed.
        ClickException: the runtime failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        pictures, out = Path(folder, "pictures.json"), Path(folder, "found.npz")
        pictures.write_text(json.dumps([str(path.resolve()) for path in paths]), encoding="utf-8")
        command = [str(python), "-I", str(PROGRAM), runtime, str(model), str(pictures), str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == MISSING:
            raise NotInstalledError(done.stderr.strip().splitlines()[-1])
        if done.returncode:
            raise click.ClickException(f"{runtime} failed on {model}: {done.stderr.strip()[-2000:]}")
        with np.load(out) as answers:
            return dict(answers)


def table(results: Iterable[Comparison]) -> str:
    """Formats the comparisons as text, with the goals below."""
    rows = [HEAD]
    for one in results:
        counts = (one.images, one.detections, len(one.unlike), one.order, one.ties)
        rows.append((one.runtime, *map(str, counts), f"{one.score:.1e}", f"{one.box:.1e}", f"{one.mask:.2e}"))
    rows.append(("goal", "", "", "0", "", "", *(f"{goal:.0e}" for goal in GOALS.values())))
    return text_table(rows)


def newest_version(folder: Path) -> Path:
    """Returns the folder of a SavedModel: `folder` itself, or the newest version in it."""
    if (folder / "saved_model.pb").is_file():
        return folder
    versions = [path for path in folder.iterdir() if path.name.isdecimal()]
    if not versions:
        raise click.UsageError(f"--saved-model {folder}: has neither a saved_model.pb nor versions")
    return max(versions, key=lambda path: int(path.name))


def runtimes(
    saved_model: Path | None, onnx: Path | None, openvino_python: str
) -> list[tuple[str, str, Path, str]]:
    """Returns (title, runtime, model, Python) of everything to compare."""
    chosen = []
    if saved_model:
        version = newest_version(saved_model)
        chosen.append(("SavedModel detect", "saved_model", version, sys.executable))
        chosen.append(("SavedModel serving_default", "serving_default", version, sys.executable))
    if onnx:
        chosen.append(("ONNX Runtime", "onnxruntime", onnx, sys.executable))
        chosen.append(("OpenVINO", "openvino", onnx, openvino_python))
    if not chosen:
        raise click.UsageError("nothing to compare: name --saved-model, --onnx or both")
    return chosen


@click.command()
@click.argument("weights", type=PATH)
@click.option("--saved-model", type=PATH, help="Folder of the SavedModel, or of its versions.")
@click.option("--onnx", type=PATH, help="The ONNX file.")
@click.option("--images", "folder", type=PATH, required=True, help="Folder with images.")
@click.option("--limit", type=click.IntRange(1), help="Compare on the first so many images, by name.")
@click.option("--openvino-python", default=sys.executable, help="Python with openvino, NumPy and Pillow.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the rows there too.")
def main(
    weights: Path,
    saved_model: Path | None,
    onnx: Path | None,
    folder: Path,
    limit: int | None,
    openvino_python: str,
    json_file: Path | None,
) -> None:
    """Compare exported files with the model of WEIGHTS (a weight file or the folder of a run) on images."""
    from keras_mrcnn import MaskRCNN
    from keras_mrcnn.evaluation.tables import write_json

    chosen = runtimes(saved_model, onnx, openvino_python)
    paths = sorted(path for path in folder.iterdir() if path.is_file())[:limit]
    if not paths:
        raise click.UsageError(f"--images {folder}: has no files")
    model = MaskRCNN.from_preset(weights)
    find, results = python_model(model), []
    expected = [find(read_picture(path)) for path in paths]
    for title, runtime, file, python in chosen:
        try:
            answers = run_runtime(runtime, file, paths, python)
        except NotInstalledError as error:
            click.echo(f"{title} is left out: {error}", err=True)
            continue
        names, head = [path.name for path in paths], model.config.box_head
        results.append(compare(title, names, answers, expected, head.score_threshold, head.nms_iou))
    click.echo(table(results))
    for one in results:
        if one.unlike:
            click.echo(f"{one.runtime}, other counts or labels: {', '.join(one.unlike)}")
    if json_file:
        write_json(json_file, {"goals": GOALS, "tie": TIE, "rows": [asdict(one) for one in results]})
    if not all(one.meets_goals() for one in results):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
