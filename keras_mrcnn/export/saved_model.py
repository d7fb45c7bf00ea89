"""Writes a SavedModel that takes pictures, encoded or not, and gives final detections.

Shapes: B batch, H W of the original image, D detections, M mask side.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_mrcnn.base.atomic_files import atomic_write
from keras_mrcnn.export.folding import fold_norms
from keras_mrcnn.export.model_card import model_card
from keras_mrcnn.export.warmup import usual_requests, write_warmup
from keras_mrcnn.mask_rcnn.detector import Detector, ExportError
from keras_mrcnn.mask_rcnn.model import MaskRCNN

PRECISIONS = ("float32", "bfloat16")


def export_saved_model(
    model: MaskRCNN,
    folder: str | os.PathLike,
    version: int | None = None,
    precision: str = "float32",
    metrics: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a model, with all pre- and post-processing, as a SavedModel for TensorFlow Serving.

    The SavedModel needs only TensorFlow, not this package. Signatures, with the outputs of `Detector.detect`:
        serving_default: images, string [B], encoded JPEG or PNG (PNG alone where C is 4); their sizes may differ. EXIF
            orientation is ignored: turn such images first.
        serving_compact: the same images. Instead of masks it gives masks_png_bytes, string [B]: a grey PNG
            [D * M, M] for each image, with its masks one below the other.
        detect: images, uint8 [B, H, W, C], where C is `config.channels`; RGB for 3.
        detect_padded: the same, and sizes, int32 [B, 2], (h, w) of each image in a larger array. The padding is
            cut off first and changes nothing.
    Assets: class_names.txt, one name a line; config.json, see `Detector.describe`; model_card.md. Warm-up requests
    are in assets.extra, for TensorFlow Serving to run before it reports that the model is ready.

    Batch norms are folded into the convolutions.

    Args:
        model: `MaskRCNN`.
        folder: folder of all versions, usually saved_models/NAME.
        version: positive int; by default one more than the greatest in the folder.
        precision: "float32" or "bfloat16". With bfloat16 the networks' weights take half the size; boxes, scores, NMS,
            inputs and outputs stay the same.
        metrics: scores for the model card, see `read_metrics`.

    Returns:
        The `Path` folder/VERSION; it appears whole or not at all.

    Raises:
        ExportError: that version exists, or is not a positive number; the precision is unknown.

    Example:
        >>> path = export_saved_model(model, "saved_models/scenes")
        >>> tf.saved_model.load(str(path)).signatures["detect"](images=tf.zeros([1, 48, 64, 3], tf.uint8))
    """
    if precision not in PRECISIONS:
        raise ExportError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / str(_next_version(folder) if version is None else _checked(version))
    if target.exists():
        raise ExportError(f"{target} exists: choose another version, or leave it out to get the next free one")
    # TensorFlow Serving looks for numbers, so it does not see the temporary folder.
    with atomic_write(target) as temporary:
        card = model_card(model, name=folder.name, variant=precision, metrics=metrics)
        _save(model, temporary, precision, card)
        config = model.config
        write_warmup(temporary, usual_requests(config.min_size, config.max_size, config.channels), folder.name)
    return target


def _save(model, path, precision, card):
    detector = Detector(fold_norms(model, precision))
    bundle = tf.Module(name="detector")
    bundle.detect = detector.detect
    bundle.detect_padded = _padded_function(detector)
    bundle.detect_encoded = _encoded_function(detector)
    bundle.detect_compact = _compact_function(bundle.detect_encoded)
    # Bare variables rather than the model: Keras would store each of its layers with a graph of its own.
    bundle.weights = list(detector.detect.get_concrete_function().graph.variables)
    description = {**Detector(model).describe(), "precision": precision}
    with tempfile.TemporaryDirectory() as assets:
        bundle.class_names = _asset(Path(assets, "class_names.txt"), "\n".join(description["class_names"]) + "\n")
        bundle.config = _asset(Path(assets, "config.json"), json.dumps(description, indent=2) + "\n")
        bundle.model_card = _asset(Path(assets, "model_card.md"), card)
        # Padded images have a signature of their own: not every server knows inputs that may be left out.
        signatures = {
            "serving_default": bundle.detect_encoded,
            "serving_compact": bundle.detect_compact,
            "detect": bundle.detect,
            "detect_padded": bundle.detect_padded,
        }
        tf.saved_model.save(bundle, str(path), signatures=signatures)


def _padded_function(detector):
    """Returns `Detector.detect` for images of several sizes in one array."""
    images = tf.TensorSpec([None, None, None, detector.channels], tf.uint8, "images")
    spec = [images, tf.TensorSpec([None, 2], tf.int32, "sizes")]

    def cut(item):
        image, size = item
        return image[: size[0], : size[1]]

    @tf.function(autograph=False, input_signature=spec)
    def detect_padded(images, sizes):
        return _one_by_one(detector, cut, (images, sizes))

    return detect_padded


def _encoded_function(detector):
    """Returns `Detector.detect` for encoded images."""

    def decode(encoded):
        if detector.channels == 4:  # which JPEG does not have
            image = tf.io.decode_png(encoded, channels=4)
        else:
            # It reads PNG too. The dct_method is that of Pillow and others; TensorFlow's default is less exact.
            image = tf.io.decode_jpeg(encoded, channels=detector.channels, dct_method="INTEGER_ACCURATE")
        image.set_shape([None, None, detector.channels])
        return image

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, name="images")])
    def detect_encoded(images):
        return _one_by_one(detector, decode, images)

    return detect_encoded


def _compact_function(detect_encoded):
    """Returns `detect_encoded` with the masks of each image in a PNG, so that an answer takes a fraction of the bytes.

    TensorFlow Serving writes numbers as digits (REST) or varints (gRPC), and masks are most of an answer.
    """

    def column(masks):
        return tf.io.encode_png(tf.reshape(masks, [-1, masks.shape[-1], 1]))

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, name="images")])
    def detect_compact(images):
        outputs = dict(detect_encoded(images))
        files = tf.map_fn(column, outputs.pop("masks"), fn_output_signature=tf.TensorSpec([], tf.string))
        # TensorFlow Serving's REST interface takes a string for UTF-8 unless its name ends in "_bytes".
        return {**outputs, "masks_png_bytes": files}

    return detect_compact


def _one_by_one(detector, image_of, items):
    """Detects objects in the images that `image_of` makes from items, one image at a time.

    The images differ in size, and none may be changed by the padding of another; one alone keeps all cores busy.
    """
    outputs = detector.detect.get_concrete_function().structured_outputs
    row = {name: tf.TensorSpec(value.shape[1:], value.dtype) for name, value in outputs.items()}

    def detect_one(item):
        return {name: value[0] for name, value in detector.detect(image_of(item)[None]).items()}

    return tf.map_fn(detect_one, items, fn_output_signature=row, parallel_iterations=1)


def _asset(path, text):
    path.write_text(text, encoding="utf-8")
    return tf.saved_model.Asset(str(path))


def _next_version(folder):
    return 1 + max((int(child.name) for child in folder.iterdir() if child.name.isdecimal()), default=0)


def _checked(version):
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ExportError(f"version {version!r} is not a positive whole number, which TensorFlow Serving needs")
    return version
