"""The whole way from a picture to final detections, in one TensorFlow graph.

Shapes: B batch, H W of the original image, D detections, M mask side.
"""

import numpy as np
import tensorflow as tf

from keras_mrcnn import __version__
from keras_mrcnn.data import transforms
from keras_mrcnn.detection_outputs import to_detections
from keras_mrcnn.errors import UserError
from keras_mrcnn.export.exact_size import resized_size
from keras_mrcnn.models.mask_rcnn import MASK_POOL

MASK_SIDE = 2 * MASK_POOL


class ExportError(UserError):
    """A model that could not be exported; the message says what is in the way."""


class Detector(tf.Module):
    """A `MaskRCNN` with all that belongs before and after it: resize, normalise, pad; back to original pixels.

    Every export is made of this graph, so all of them give its detections.

    Args:
        model: `MaskRCNN`. Weights that change later are seen here too.

    Example:
        >>> detector = Detector(model)
        >>> first, second = detector([np.zeros([48, 64, 3], np.uint8), np.zeros([90, 30, 3], np.uint8)])
    """

    def __init__(self, model):
        super().__init__(name="detector")
        self.model = model
        self.min_size, self.max_size = model.config.min_size, model.config.max_size
        self.class_names = tuple(model.config.class_names)
        self.category_ids = tuple(model.config.category_ids)

    def __call__(self, images):
        """Detects objects in images of any sizes, one after the other.

        Args:
            images: list of uint8 arrays [H, W, 3], RGB.

        Returns:
            A list of `Detections`, one for each image.

        Raises:
            ValueError: an image is not a uint8 [H, W, 3] array with pixels.
        """
        return [self._detect_one(_checked(image, number)) for number, image in enumerate(images)]

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")])
    def detect(self, images):
        """Detections of a batch of images of one size.

        Args:
            images: uint8 [B, H, W, 3], RGB, 0..255; H and W at least 1.

        Returns:
            dict with boxes float32 [B, D, 4], xyxy pixels of the original image, best first, zero-padded; scores
            float32 [B, D]; category_ids int32 [B, D], 0 for padding; valid int32 [B], how many detections there are;
            masks uint8 [B, D, M, M], probability inside the box * 255, rounded.
        """
        return self._find(images)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32, name="images")])
    def detect_float(self, images):
        """As `detect`, of float32 images with the same range, 0..255."""
        return self._find(images)

    def _find(self, images):
        shape = tf.shape(images)
        original_size = shape[1:3]
        size = resized_size(shape[1], shape[2], self.min_size, self.max_size)
        inputs = transforms.resize_to(transforms.normalise(images), size)
        found = self.model(
            {"images": transforms.pad_to_multiple(inputs), "image_sizes": tf.tile(size[None], [shape[0], 1])}
        )
        # Not every layer tells its shape to the graph; the files' readers want to know it.
        found["masks"].set_shape([None, found["scores"].shape[1], MASK_SIDE, MASK_SIDE])
        return {
            "boxes": transforms.scale_boxes(found["boxes"], size, original_size),
            "scores": found["scores"],
            "category_ids": tf.gather(tf.constant([0, *self.category_ids]), found["labels"]),
            "valid": found["valid"],
            "masks": tf.cast(tf.round(found["masks"] * 255.0), tf.uint8),
        }

    def describe(self):
        """What a client must know: a dict with class_names, category_ids, config and version, for JSON."""
        return {
            "class_names": list(self.class_names),
            "category_ids": list(self.category_ids),
            "config": self.model.config.model_dump(mode="json"),
            "version": __version__,
        }

    def _detect_one(self, image):
        found = {name: value.numpy()[0] for name, value in self.detect(tf.constant(image[None])).items()}
        return to_detections(found, dict(zip(self.category_ids, self.class_names)), image.shape[:2])


def _checked(image, number):
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(
            f"images[{number}] is {image.dtype} {list(image.shape)}, expected a uint8 array [H, W, 3]; "
            "read files with PIL: np.asarray(Image.open(path).convert('RGB'))"
        )
    return image
