"""Runs an exported ONNX file with NumPy, Pillow and ONNX Runtime alone.

Shapes: B images of one size, H W their height and width.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from keras_mrcnn.base.errors import MissingPackageError, UserError
from keras_mrcnn.base.image_files import ImageError, Picture, read_image
from keras_mrcnn.base.records import OUTPUT_NAMES, Detections

METADATA = ("class_names", "category_ids", "config", "version")
INPUT_DTYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}


class ModelFileError(UserError):
    """A model file that cannot be used; the message is one sentence that names it."""


class OnnxPredictor:
    """Finds objects in pictures with a model that `export_onnx` wrote.

    The file holds everything from the picture to the final detections, so the results are those of `Detector`.

    Args:
        path: path of the ONNX file.
        threads: threads for one run; by default ONNX Runtime decides, and uses every core.
        providers: ONNX Runtime's execution providers in the order of preference, such as
            ["CUDAExecutionProvider", "CPUExecutionProvider"]; None means the CPU.

    Attributes:
        class_names: tuple of the names of the classes.
        category_ids: tuple of their (COCO) category ids, in the same order.
        config: settings of the model, a dict.
        version: version of the library that exported the file.

    Raises:
        ImportError: onnxruntime is not installed.
        ModelFileError: the file is missing, not an ONNX file, or not an exported detector.
        ValueError: threads is below 1, or this ONNX Runtime has no such provider.

    Example:
        >>> predictor = OnnxPredictor("saved_models/scenes.onnx")
        >>> detections = predictor("street.jpg").above(0.5)
        >>> detections.class_names, detections.boxes, detections.paste_masks()
    """

    def __init__(
        self, path: str | os.PathLike, threads: int | None = None, providers: Sequence[str | tuple] | None = None
    ) -> None:
        self._session = _open(Path(path), threads, providers)
        self._input = _detector_input(self._session, path)
        self.channels = self._input.shape[3]
        description = _description(self._session, path)
        self.class_names = tuple(description["class_names"])
        self.category_ids = tuple(description["category_ids"])
        self.config = description["config"]
        self.version = description["version"]

    def __call__(self, image: Picture) -> Detections:
        """Finds objects in one image.

        Args:
            image: path of an image file, uint8 array [H, W, 3] (RGB) or [H, W] (grey), or a Pillow image.

        Returns:
            `Detections` in pixels of the image, upright (the EXIF orientation is applied).

        Raises:
            ImageError: the image cannot be read, or is an array of another kind; the message names it.
        """
        (detections,) = self._detect(read_image(image, channels=self.channels)[None])
        return detections

    def batch(self, images: Iterable[Picture], batch_size: int = 8) -> list[Detections]:
        """Finds objects in images of any sizes; images of the same size go through the model together.

        Args:
            images: each as in a call for one image.
            batch_size: the most images in one run; memory grows with it.

        Returns:
            list of `Detections`, in the order of the images.

        Raises:
            ImageError: an image cannot be read; the message names it. No image has been run then.
            ValueError: batch_size is below 1.
        """
        # One array [H, W, 3] would pass as H grey images.
        if isinstance(images, (str, os.PathLike, Image.Image)) or getattr(images, "ndim", 4) != 4:
            raise ImageError("batch takes a list of images; for one image call the predictor itself")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, expected at least 1")
        pixels = [read_image(image, f"images[{number}]", self.channels) for number, image in enumerate(images)]
        by_size: dict[tuple[int, ...], list[int]] = {}
        for number, image in enumerate(pixels):
            by_size.setdefault(image.shape, []).append(number)
        detections: dict[int, Detections] = {}
        for numbers in by_size.values():
            for start in range(0, len(numbers), batch_size):
                chunk = numbers[start : start + batch_size]
                detections.update(zip(chunk, self._detect(np.stack([pixels[number] for number in chunk]))))
        return [detections[number] for number in range(len(pixels))]

    def _detect(self, images: np.ndarray) -> Iterator[Detections]:
        """Yields the detections of each of the images uint8 [B, H, W, 3]."""
        inputs = {self._input.name: images.astype(INPUT_DTYPES[self._input.type], copy=False)}
        outputs = dict(zip(OUTPUT_NAMES, self._session.run(OUTPUT_NAMES, inputs)))
        names = dict(zip(self.category_ids, self.class_names))
        for row in range(len(images)):
            arrays = {name: value[row] for name, value in outputs.items()}
            yield Detections.from_outputs(arrays, names, images.shape[1:3])


def _open(path, threads, providers):
    """Opens the file as an onnxruntime.InferenceSession."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError("OnnxPredictor needs onnxruntime: pip install 'keras_mrcnn[onnx]'") from error
    if threads is not None and threads < 1:
        raise ValueError(f"threads is {threads}, expected at least 1, or None for every core")
    providers = ["CPUExecutionProvider"] if providers is None else list(providers)
    available = onnxruntime.get_available_providers()
    for name in (entry if isinstance(entry, str) else entry[0] for entry in providers):
        if name not in available:
            raise ValueError(f"this ONNX Runtime has no provider {name}; it has {', '.join(available)}")
    if not path.is_file():
        raise ModelFileError(f"model file {path} does not exist; check the path")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0  # 0: every core
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # the errors of ONNX Runtime share no other class
        reason = " ".join(str(error).split())
        raise ModelFileError(f"{path} is not an ONNX file that ONNX Runtime can load ({reason})") from error


def _detector_input(session, path):
    """Returns the description of the only input, after checking that it takes images of a known type."""
    inputs = session.get_inputs()
    missing = sorted(set(OUTPUT_NAMES) - {output.name for output in session.get_outputs()})
    if missing:
        raise _not_ours(path, f"it has no output {missing[0]}")
    if len(inputs) != 1 or inputs[0].type not in INPUT_DTYPES or inputs[0].shape[3:] not in ([1], [3], [4]):
        kinds = ", ".join(f"{value.name} {value.type} {value.shape}" for value in inputs)
        raise _not_ours(path, f"its input is {kinds}, not uint8 or float [B, H, W, C] with 1, 3 or 4 channels")
    return inputs[0]


def _description(session, path):
    """Returns what the file says about the model: a dict with the keys of METADATA."""
    entries = session.get_modelmeta().custom_metadata_map
    for key in METADATA:
        if key not in entries:
            raise _not_ours(path, f"it has no metadata {key}")
    try:
        return {key: entries[key] if key == "version" else json.loads(entries[key]) for key in METADATA}
    except ValueError as error:
        raise _not_ours(path, f"its metadata are damaged, {error}") from error


def _not_ours(path, reason):
    return ModelFileError(f"{path} is not a detector written by `export_onnx` ({reason}); export it again")
