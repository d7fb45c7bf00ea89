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
from dataclasses import asdict, dataclass, field
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import click
import numpy as np
from run_exported import MISSING, read_picture

from keras_mrcnn.base.iou import box_iou, match_pairs
from keras_mrcnn.base.tables import text_table

GOALS = {"score": 1e-4, "box": 0.05, "mask": 2e-3}
SAME_BOX, TIE, IOU_TIE = 1.0, 1e-6, 1e-5  # pixels; difference of two scores; of an IoU and the limit of NMS
PROGRAM = Path(__file__).resolve().with_name("run_exported.py")
HEAD = ("runtime", "images", "detections", "unlike", "order", "ties", "score", "box, px", "mask")
PATH = click.Path(exists=True, path_type=Path)


class NotInstalledError(RuntimeError):
    """A runtime that is not there; the message names it."""


@dataclass
class Comparison:
    """What one runtime's detections differ by, over all images; the last three are the greatest differences."""

    runtime: str
    images: int = 0
    detections: int = 0
    unlike: list[str] = field(default_factory=list)
    order: int = 0
    ties: int = 0
    score: float = 0.0
    box: float = 0.0
    mask: float = 0.0

    def add(self, name, found, expected, threshold, nms_iou):
        """Takes one image in; `found` and `expected` are dicts of arrays without padding."""
        rows, wanted, distance = pair(found, expected)
        self.images += 1
        self.detections += len(expected["scores"])
        ties, unexplained = lone_detections(found, expected, rows, wanted, threshold, nms_iou)
        swapped, tied = other_places(rows, wanted, expected["scores"])
        self.ties += ties + tied
        self.order += swapped - tied
        if unexplained:
            self.unlike.append(name)
        if len(rows):
            masks = found["masks"][rows].astype(np.float64) / 255 - expected["probabilities"][wanted]
            self.score = max(self.score, float(np.abs(found["scores"][rows] - expected["scores"][wanted]).max()))
            self.box = max(self.box, float(distance.max()))
            self.mask = max(self.mask, float(np.abs(masks).max()))

    def meets_goals(self):
        return not self.unlike and all(getattr(self, name) <= goal for name, goal in GOALS.items())


def pair(found, expected):
    """The detections that both have: rows int [P] in `found`, rows int [P] in `expected`, rising, pixels between."""
    distance = np.abs(found["boxes"][None].astype(np.float64) - expected["boxes"][:, None]).max(axis=-1, initial=0)
    distance[found["category_ids"][None] != expected["category_ids"][:, None]] = np.inf
    wanted, rows = np.array(sorted(match_pairs(-distance, -SAME_BOX)), int).reshape(-1, 2).T
    return rows, wanted, distance[wanted, rows]


def lone_detections(found, expected, rows, wanted, threshold, nms_iou):
    """How many detections without a partner a tie explains, and how many it does not."""
    sides = [(found, np.setdiff1d(np.arange(len(found["scores"])), rows))]
    sides.append((expected, np.setdiff1d(np.arange(len(expected["scores"])), wanted)))
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


def other_places(rows, wanted, scores):
    """How many of the pairs stand at another place among them, and how many of these tie with what should be there."""
    places = np.argsort(np.argsort(rows))
    moved = places != np.arange(len(rows))
    tied = np.abs(scores[wanted][places] - scores[wanted]) <= TIE
    return int(moved.sum()), int((moved & tied).sum())


def compare(runtime, names, answers, expected, threshold, nms_iou):
    """`Comparison` of a runtime's answers, dict of arrays with all images, with a list of the Python model's."""
    result = Comparison(runtime)
    for row, (name, wanted) in enumerate(zip(names, expected)):
        found = unpadded({key: value[row] for key, value in answers.items()})
        result.add(name, found, wanted, threshold, nms_iou)
    return result


def unpadded(found):
    """The outputs of an image without padding; full tells that there was no room for more."""
    count = int(found["valid"])
    rows = {name: value[:count] for name, value in found.items() if name != "valid"}
    return {**rows, "full": count == len(found["scores"]) > 0}


def python_model(model):
    """A function of an image, uint8 [H, W, 3], to what the Python model finds, its masks as probabilities."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])
    def detect(image):
        inputs = model.preprocess(image[None])
        outputs = model(inputs)
        final = model.postprocess(outputs, inputs["image_sizes"][0], tf.shape(image)[:2])
        arrays = {name: value[0] for name, value in {**final, "probabilities": outputs["masks"]}.items()}
        return {name: value for name, value in arrays.items() if name != "masks"}

    return lambda image: unpadded({name: value.numpy() for name, value in detect(image).items()})


def run_runtime(runtime, model, paths, python=sys.executable):
    """The answers of one runtime for image files, from a process of its own.

    Raises:
        NotInstalledError: the runtime is not there.
        ClickException: it failed.
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


def table(results):
    """The comparisons as text, the goals below."""
    rows = [HEAD]
    for one in results:
        counts = (one.images, one.detections, len(one.unlike), one.order, one.ties)
        rows.append((one.runtime, *map(str, counts), f"{one.score:.1e}", f"{one.box:.1e}", f"{one.mask:.2e}"))
    rows.append(("goal", "", "", "0", "", "", *(f"{goal:.0e}" for goal in GOALS.values())))
    return text_table(rows)


def newest_version(folder):
    """The folder of a SavedModel: the one named, or the newest version below it."""
    if (folder / "saved_model.pb").is_file():
        return folder
    versions = [path for path in folder.iterdir() if path.name.isdecimal()]
    if not versions:
        raise click.UsageError(f"--saved-model {folder}: has neither a saved_model.pb nor versions")
    return max(versions, key=lambda path: int(path.name))


def runtimes(saved_model, onnx, openvino_python):
    """(title, runtime, model, Python) of all that there is to compare."""
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
def main(weights, saved_model, onnx, folder, limit, openvino_python, json_file):
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
