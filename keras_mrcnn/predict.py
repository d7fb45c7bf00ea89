"""Detections in image files, of any mixture of sizes and formats.

Shapes: H W of an image.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_mrcnn.data.batching import evaluation_batches
from keras_mrcnn.data.images import ImageError, read_image
from keras_mrcnn.data.loading_guard import LoadingGuard
from keras_mrcnn.data.transforms import normalise, pad_to_multiple, resize_to, resized_size
from keras_mrcnn.evaluation.evaluator import split_batch
from keras_mrcnn.silent_pillow import silent_pillow
from keras_mrcnn.structures import Detections

_EXIF_ORIENTATION = 0x0112


def predict_files(model, paths: Iterable[str | Path], batch_size: int = 2) -> Iterator[tuple[Path, Detections]]:
    """Finds the objects in image files.

    Images of like aspect ratio share a batch, so the order is not that of `paths`. For images in memory there is
    `Detector`.

    Args:
        model: `MaskRCNN`.
        paths: of the image files; everything that Pillow reads is taken.
        batch_size: how many images go through the network at once.

    Returns:
        iterator of (path, `Detections` in pixels of the upright image), one for each file that can be read.

    Raises:
        ImageError: some files cannot be read; raised after all others have been given, and names each of them.
        ValueError: the batch size is not positive.

    Example:
        >>> for path, detections in predict_files(load_weights(None, "model.safetensors"), ["a.jpg", "b.png"]):
        ...     print(path.name, detections.class_names)
    """
    paths = [Path(path) for path in ([paths] if isinstance(paths, (str, os.PathLike)) else paths)]
    config, failures = model.config, {}

    def run(batch):
        return model({"images": batch["images"], "image_sizes": batch["image_sizes"]})

    batches = _batches(paths, batch_size, config.min_size, config.max_size, failures)
    # One graph for all sizes: traced anew for each, it would cost seconds a batch.
    step = tf.function(run, input_signature=[batches.element_spec])
    for batch in batches:
        outputs = {name: value.numpy() for name, value in step(batch).items()}
        sizes, originals = batch["image_sizes"].numpy(), batch["original_sizes"].numpy()
        found = split_batch(outputs, sizes, originals, config.class_names, config.category_ids)
        yield from zip([paths[position] for position in batch["positions"].numpy()], found)
    if failures:
        raise ImageError("\n".join(str(failures[position]) for position in sorted(failures)))


def _batches(
    paths: list[Path], batch_size: int, min_size: int, max_size: int, failures: dict[int, ImageError]
) -> tf.data.Dataset:
    """Batches of the files that can be read, padded; what is wrong with the others goes into `failures` by place."""
    planned = evaluation_batches([_upright_size(path) for path in paths], batch_size)
    order = np.array([position for batch in planned for position in batch], np.int64)

    def nothing():
        return np.zeros((1, 1, 3), np.uint8), False

    def load(position):
        try:
            return read_image(paths[position]), True
        except ImageError as error:
            failures[int(position)] = error
            return nothing()

    guarded = LoadingGuard(load, nothing)

    def make_sample(position):
        image, readable = tf.numpy_function(guarded, [position], [tf.uint8, tf.bool])
        image.set_shape([None, None, 3])
        readable.set_shape([])
        original_size = tf.shape(image)[:2]
        size = resized_size(original_size[0], original_size[1], min_size, max_size)
        images = pad_to_multiple(resize_to(normalise(image), size))
        sample = {
            "images": images,
            "image_sizes": size,
            "original_sizes": original_size,
            "positions": position,
        }
        return readable, sample

    samples = tf.data.Dataset.from_tensor_slices(order).map(make_sample, tf.data.AUTOTUNE, deterministic=True)
    readable = samples.filter(lambda readable, _: readable).map(lambda _, sample: sample)
    return readable.padded_batch(batch_size).prefetch(1)


def _upright_size(path: Path) -> tuple[int, int]:
    """(h, w) from the header of an image file; (1, 1) where there is none, for reading it will tell what is wrong."""
    with suppress(Exception), silent_pillow(), Image.open(path) as image:
        width, height = image.size
        turned = image.getexif().get(_EXIF_ORIENTATION, 1) >= 5
        return (width, height) if turned else (height, width)
    return 1, 1
