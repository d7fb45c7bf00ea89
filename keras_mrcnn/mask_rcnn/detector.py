"""One TensorFlow graph for the whole way from pictures to final detections.

Shapes: B batch, H W C of the pictures, D detections, M mask side.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_mrcnn import __version__
from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.image_files import ImageError, Picture, read_image
from keras_mrcnn.base.records import Detections
from keras_mrcnn.layers.roi_align import MASK_POOL

if TYPE_CHECKING:
    from keras_mrcnn.mask_rcnn.model import MaskRCNN

MASK_SIDE = 2 * MASK_POOL


class ExportError(UserError):
    """A model that could not be exported; the message says why."""


class Detector(tf.Module):
    """Graph of a `MaskRCNN` together with its preprocessing and postprocessing.

    `MaskRCNN.predict` runs this graph and every export contains it, so all of them give the same detections.

    Args:
        model: `MaskRCNN`. The graph follows later changes of its weights.

    Attributes:
        detect: `tf.function` that finds the objects in a batch of pictures of one size, images uint8 [B, H, W, C],
            0..255, H and W at least 1; it returns a dict of tensors as `MaskRCNN.postprocess` does.
        detect_float: the same for float32 pictures, 0..255.

    Example:
        >>> detector = Detector(model)
        >>> first, second = detector([np.zeros([48, 64, 3], np.uint8), np.zeros([90, 30, 3], np.uint8)])
    """

    def __init__(self, model: MaskRCNN):
        super().__init__(name="detector")
        self.model = model
        self.class_names = tuple(model.config.class_names)
        self.category_ids = tuple(model.config.category_ids)
        self.channels = model.config.channels
        self.detect, self.detect_float = map(self._graph, (tf.uint8, tf.float32))

    def __call__(self, pictures: Iterable[Picture]) -> list[Detections]:
        """Returns the `Detections` in each picture; arguments and errors as in `MaskRCNN.predict`."""
        return list(self.stream(pictures))

    def stream(self, pictures: Iterable[Picture], batch_size: int = 1) -> Iterator[Detections]:
        """Finds the objects in pictures one batch after the other, without waiting for the last picture.

        Args:
            pictures, batch_size: as in `MaskRCNN.predict`; any iterable.

        Yields:
            The `Detections` of each picture, in the order of the pictures.

        Raises:
            ImageError: a picture cannot be read or has another dtype or shape.
            ValueError: the batch size is not positive.
        """
        if batch_size < 1:
            raise UserError(f"batch_size is {batch_size}; it must be at least 1")
        # An array [H, W, 3] would pass as H grey pictures, and a path as its letters.
        if isinstance(pictures, (str, bytes, os.PathLike, Image.Image)) or getattr(pictures, "ndim", 4) != 4:
            raise ImageError("pictures must be a list or an array [B, H, W, C]; put a single picture into a list")
        class_names = dict(zip(self.category_ids, self.class_names))
        for batch in _batches(pictures, batch_size, self.channels):
            outputs = {name: value.numpy() for name, value in self.detect(tf.constant(batch)).items()}
            for row in range(len(batch)):
                arrays = {name: value[row] for name, value in outputs.items()}
                yield Detections.from_outputs(arrays, class_names, batch.shape[1:3])

    def _graph(self, dtype: tf.DType) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
        signature = tf.TensorSpec([None, None, None, self.channels], dtype, name="images")
        return tf.function(self._detect, autograph=False, input_signature=[signature])

    def _detect(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        inputs = self.model.preprocess(images)
        outputs = self.model(inputs)
        # Some layers lose the static shape, which programs that read an exported graph rely on.
        outputs["masks"].set_shape([None, outputs["scores"].shape[1], MASK_SIDE, MASK_SIDE])
        return self.model.postprocess(outputs, inputs["image_sizes"][0], tf.shape(images)[1:3])

    def describe(self) -> dict[str, Any]:
        """Returns a description for clients: a dict for JSON with class_names, category_ids, config and version."""
        return {
            "class_names": list(self.class_names),
            "category_ids": list(self.category_ids),
            "config": self.model.config.model_dump(mode="json"),
            "version": __version__,
        }


def _batches(pictures: Iterable[Picture], batch_size: int, channels: int) -> Iterator[np.ndarray]:
    """Yields uint8 [B, H, W, channels] of at most `batch_size` successive pictures of one size."""
    batch: list[np.ndarray] = []
    for number, picture in enumerate(pictures):
        image = read_image(picture, f"pictures[{number}]", channels)
        if batch and (len(batch) == batch_size or batch[0].shape != image.shape):
            yield np.stack(batch)
            batch = []
        batch.append(image)
    if batch:
        yield np.stack(batch)
