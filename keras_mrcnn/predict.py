"""Finds the objects in image files, of any mixture of sizes and formats.

Shapes: H W C of an image.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import tee
from pathlib import Path
from typing import NamedTuple, Union

import numpy as np

from keras_mrcnn.base.background import in_background
from keras_mrcnn.base.image_files import ImageError, read_image
from keras_mrcnn.base.records import Detections
from keras_mrcnn.mask_rcnn.model import MaskRCNN

DECODED_AHEAD = 4

PathLike = Union[str, os.PathLike]


class FilePrediction(NamedTuple):
    """Prediction for an image file: its path, its pixels uint8 [H, W, C], upright, and the `Detections` in them."""

    path: Path
    image: np.ndarray
    detections: Detections


def predict_files(
    model: MaskRCNN, paths: Union[PathLike, Iterable[PathLike]], batch_size: int = 1
) -> Iterator[FilePrediction]:
    """Finds the objects in image files, while a thread decodes the next files.

    Args:
        model: `MaskRCNN`.
        paths: of the image files, in any format that Pillow reads.
        batch_size: how many images go through the network at once, see `MaskRCNN.predict`.

    Yields:
        A `FilePrediction` for each file that can be read, in the order of `paths`.

    Raises:
        ImageError: some files cannot be read; it comes after the predictions for all others, and names each such file.
        ValueError: the batch size is not positive.

    Example:
        >>> for path, image, detections in predict_files(model, ["a.jpg", "b.png"]):  # doctest: +SKIP
        ...     print(path.name, detections.class_names)
    """
    paths = [Path(path) for path in ([paths] if isinstance(paths, (str, os.PathLike)) else paths)]
    failures: list[str] = []
    readable = _read(paths, model.config.channels, failures)
    with closing(in_background(readable, DECODED_AHEAD, threading.Event())) as decoded:
        files, images = tee(decoded)
        detections = model.detector.stream((image for _, image in images), batch_size)
        for result, (path, image) in zip(detections, files):
            yield FilePrediction(path, image, result)
    if failures:
        raise ImageError("\n".join(failures))


def _read(paths: list[Path], channels: int, failures: list[str]) -> Generator[tuple[Path, np.ndarray], None, None]:
    """Yields each file that can be read, with its pixels; collects the errors of the others in `failures`."""
    for path in paths:
        try:
            yield path, read_image(path, channels=channels)
        except ImageError as error:
            failures.append(str(error))
