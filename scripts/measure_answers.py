"""How many bytes is an answer of TensorFlow Serving with 100 detections? Exports a model, asks it, counts.

    python scripts/measure_answers.py saved_models/demo.safetensors coco-mini/images/val --count 50

The model's score threshold is set to 0, so that every row is a detection with the mask that the network draws. The
answers are written as TensorFlow Serving writes them (tests/serving/fake_servers.py: the real protobufs, and the JSON
of rows), and counted without the headers of HTTP. "noise" is an answer with random masks, which nothing can pack and
no network gives; "none" is one without detections. Needs the extras serving and test.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from serving.clients import compact  # noqa: E402
from serving.fake_servers import FakeModel, json_answer, predict_response  # noqa: E402

from keras_mrcnn import MaskRCNN  # noqa: E402
from keras_mrcnn.export.saved_model import export_saved_model  # noqa: E402

SIGNATURES = ("serving_compact", "serving_default")
BYTES = {
    "REST": lambda outputs: len(json.dumps(json_answer(outputs))),
    "gRPC": lambda outputs: predict_response(outputs, as_tensor_content=False).ByteSize(),
    "gRPC, tensors as bytes": lambda outputs: predict_response(outputs, as_tensor_content=True).ByteSize(),
}


def unthresholded(weights: Path) -> MaskRCNN:
    """Loads the model of a weight file, changed to keep every detection however low its score."""
    config = MaskRCNN.from_preset(weights).config
    box_head = config.box_head.model_copy(update={"score_threshold": 0.0})
    model = MaskRCNN(config.model_copy(update={"box_head": box_head}))
    model.load_pretrained(weights)
    return model


def with_masks(outputs: dict[str, np.ndarray], masks: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Returns an answer with other masks, by signature."""
    outputs = {**outputs, "masks": masks}
    return {"serving_default": outputs, "serving_compact": compact(outputs)}


@click.command(help=__doc__.split("\n", 1)[0])
@click.argument("weights", type=click.Path(exists=True, path_type=Path))
@click.argument("images", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--count", default=50, show_default=True, help="How many of the images, evenly spread.")
def main(weights: Path, images: Path, count: int) -> None:
    paths = sorted(images.iterdir())
    paths = [paths[place] for place in np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)]
    with tempfile.TemporaryDirectory() as folder:
        model = FakeModel.of_folder(export_saved_model(unthresholded(weights), Path(folder, "model")))
        answers = [{name: model.run(name, [path.read_bytes()]) for name in SIGNATURES} for path in paths]
    first = answers[0]["serving_default"]
    noise = with_masks(first, np.random.default_rng(0).integers(0, 256, first["masks"].shape, np.uint8))
    empty = {name: np.zeros_like(value) for name, value in first.items()}
    none = with_masks(empty, empty["masks"])
    detections = [int(answer["serving_default"]["valid"][0]) for answer in answers]
    print(f"{len(paths)} images, {min(detections)} to {max(detections)} detections each")
    print(f"{'bytes':40}{'mean':>10}{'most':>10}{'noise':>10}{'none':>10}")
    for signature in SIGNATURES:
        for protocol, bytes_of in BYTES.items():
            sizes = [bytes_of(answer[signature]) for answer in answers]
            columns = (round(np.mean(sizes)), max(sizes), bytes_of(noise[signature]), bytes_of(none[signature]))
            print(f"{signature + ', ' + protocol:40}" + "".join(f"{size:>10,}" for size in columns))


if __name__ == "__main__":
    main()
