"""A SavedModel that takes pictures, encoded or not, and gives final detections.

Shapes: B batch, H W of the original image.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

import tensorflow as tf

from keras_mrcnn.export.detector import Detector, ExportError


def export_saved_model(model, folder, version=None):
    """Writes a model, with all pre- and post-processing, as a SavedModel for TensorFlow Serving.

    It needs TensorFlow alone, not this package. Signatures, both with the outputs of `Detector.detect`:
        serving_default: images, string [B], encoded JPEG or PNG; their sizes may differ. EXIF orientation is not
            looked at: turn such images before.
        detect: images, uint8 [B, H, W, 3], RGB.
    Assets: class_names.txt, one name a line; config.json, see `Detector.describe`.

    Args:
        model: `MaskRCNN`.
        folder: of all versions, usually saved_models/NAME.
        version: positive int; by default one more than the greatest that is there.

    Returns:
        The `Path` folder/VERSION; it appears whole or not at all.

    Raises:
        ExportError: that version exists, or is not a positive number.

    Example:
        >>> path = export_saved_model(model, "saved_models/scenes")
        >>> tf.saved_model.load(str(path)).signatures["detect"](images=tf.zeros([1, 48, 64, 3], tf.uint8))
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / str(_next_version(folder) if version is None else _checked(version))
    if target.exists():
        raise ExportError(f"{target} exists: choose another version, or leave it out to get the next free one")
    # TensorFlow Serving looks for numbers, so it does not see a folder of this name.
    temporary = folder / f".{target.name}.{os.getpid()}.tmp"
    try:
        _save(Detector(model), temporary)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _save(detector, path):
    bundle = tf.Module(name="detector")
    bundle.detect = detector.detect
    bundle.detect_encoded = _encoded_function(detector)
    # Bare variables rather than the model: Keras would store each of its layers with a graph of its own.
    bundle.weights = list(detector.detect.get_concrete_function().graph.variables)
    description = detector.describe()
    with tempfile.TemporaryDirectory() as assets:
        bundle.class_names = _asset(Path(assets, "class_names.txt"), "\n".join(description["class_names"]) + "\n")
        bundle.config = _asset(Path(assets, "config.json"), json.dumps(description, indent=2) + "\n")
        signatures = {"serving_default": bundle.detect_encoded, "detect": bundle.detect}
        tf.saved_model.save(bundle, str(path), signatures=signatures)


def _encoded_function(detector):
    """`Detector.detect` for encoded images."""
    outputs = detector.detect.get_concrete_function().structured_outputs
    row = {name: tf.TensorSpec(value.shape[1:], value.dtype) for name, value in outputs.items()}

    def detect_one(encoded):
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        image.set_shape([None, None, 3])
        return {name: value[0] for name, value in detector.detect(image[None]).items()}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="images")])
    def detect_encoded(images):
        # One after the other: each has a size of its own, and one alone keeps all cores busy.
        return tf.map_fn(detect_one, images, fn_output_signature=row, parallel_iterations=1)

    return detect_encoded


def _asset(path, text):
    path.write_text(text, encoding="utf-8")
    return tf.saved_model.Asset(str(path))


def _next_version(folder):
    return 1 + max((int(child.name) for child in folder.iterdir() if child.name.isdecimal()), default=0)


def _checked(version):
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ExportError(f"version {version!r} is not a positive whole number, which TensorFlow Serving needs")
    return version
