"""Runs an exported model on pictures as a user does who has one runtime and not this package.

    python -I scripts/run_exported.py saved_model saved_models/scenes/1 pictures.json found.npz

pictures.json holds a list of paths; found.npz gets every output, pictures along the first axis. compare_exports.py
starts one such process for each runtime. It needs Pillow, NumPy and the runtime alone.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

MISSING = 3  # exit status if the runtime is not installed
Run = Callable[[np.ndarray], dict[str, np.ndarray]]  # from an image, uint8 [H, W, 3], to the outputs


def read_picture(path: str | os.PathLike) -> np.ndarray:
    """Reads a picture as uint8 [H, W, 3], RGB, upright."""
    with Image.open(path) as image:
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def open_saved_model(path: str) -> Run:
    """Returns a function that runs the signature detect of a SavedModel."""
    import tensorflow as tf

    detect = tf.saved_model.load(path).signatures["detect"]
    return lambda image: _numpy(detect(images=tf.constant(image[None])))


def open_serving_default(path: str) -> Run:
    """Returns a function that runs the signature serving_default of a SavedModel."""
    import tensorflow as tf

    loaded = tf.saved_model.load(path)  # its signatures live as long as it does

    def run(image):
        encoded = io.BytesIO()
        Image.fromarray(image).save(encoded, "PNG")
        return _numpy(loaded.signatures["serving_default"](images=tf.constant([encoded.getvalue()])))

    return run


def open_onnxruntime(path: str) -> Run:
    """Returns a function that runs an ONNX file with ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names, first = [output.name for output in session.get_outputs()], session.get_inputs()[0].name
    return lambda image: dict(zip(names, session.run(None, {first: image[None]})))


def open_openvino(path: str) -> Run:
    """Returns a function that runs an ONNX file with OpenVINO."""
    import openvino

    # By default it computes in bfloat16 if the processor can.
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(image):
        outputs = compiled([image[None]])
        return {output.any_name: np.array(outputs[output]) for output in compiled.outputs}

    return run


RUNTIMES = {
    "saved_model": open_saved_model,
    "serving_default": open_serving_default,
    "onnxruntime": open_onnxruntime,
    "openvino": open_openvino,
}


def _numpy(outputs):
    return {name: value.numpy() for name, value in outputs.items()}


def main(runtime: str, model: str, pictures: str, out: str) -> int:
    """Runs a model on all pictures, writes the outputs and returns the exit status."""
    sys.modules["keras_mrcnn"] = None  # an import of it fails, even where it is installed
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        run = RUNTIMES[runtime](model)
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed", file=sys.stderr)
        return MISSING
    with open(pictures, encoding="utf-8") as file:
        answers = [run(read_picture(path)) for path in json.load(file)]
    np.savez(out, **{name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]})
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
