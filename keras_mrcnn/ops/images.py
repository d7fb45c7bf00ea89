"""From pictures to the network's input and back, as TensorFlow functions with torchvision's numerics.

Training, prediction and every export share these functions, so they take tensors of unknown size and hold no state.

Shapes: B batch, H W C of a picture, h w of the network's input before it is padded, G boxes.
"""

from __future__ import annotations

import tensorflow as tf

from keras_mrcnn.base import image_size
from keras_mrcnn.ops.pixels import pixel_statistics

SIZE_MULTIPLE = 32


def normalise(image: tf.Tensor) -> tf.Tensor:
    """Normalises pixels of 0..255 to zero mean and unit deviation, the input of ImageNet models.

    Args:
        image: uint8 or float [..., C], 0..255; C is 1 (grey), 3 (RGB) or 4 (RGB with alpha).

    Returns:
        float32 [..., C].

    Example:
        >>> normalise(tf.constant([255, 0, 0], tf.uint8)).numpy().round(3)
        array([ 2.249, -2.036, -1.804], dtype=float32)
    """
    return _normalised(image, *map(tf.constant, pixel_statistics(image.shape[-1])))


def normalise_picture(image: tf.Tensor) -> tf.Tensor:
    """Does the same as `normalise` to one picture, bit for bit, in a third of the time on a CPU.

    Exports have `normalise`, which is simpler to read and to optimise: runtimes for inference make one step of it.

    Args:
        image: uint8 or float [H, W, C], 0..255; C is 1 (grey), 3 (RGB) or 4 (RGB with alpha).

    Returns:
        float32 [H, W, C].
    """
    # TensorFlow is slow along axes as short as C, and fast along rows of the picture.
    height, width, channels = tf.unstack(tf.shape(image))
    rows = tf.reshape(image, [height, width * channels])
    mean, deviation = (tf.tile(tf.constant(value), [width]) for value in pixel_statistics(image.shape[-1]))
    return tf.reshape(_normalised(rows, mean, deviation), [height, width, image.shape[-1]])


def _normalised(values: tf.Tensor, mean: tf.Tensor, deviation: tf.Tensor) -> tf.Tensor:
    return (tf.cast(values, tf.float32) / 255.0 - mean) / deviation


def denormalise(image: tf.Tensor) -> tf.Tensor:
    """Turns the output of `normalise` back into pixels.

    Args:
        image: float32 [..., C].

    Returns:
        uint8 [..., C], 0..255.
    """
    mean, deviation = pixel_statistics(image.shape[-1])
    image = (image * tf.constant(deviation) + tf.constant(mean)) * 255.0
    return tf.cast(tf.round(tf.clip_by_value(image, 0.0, 255.0)), tf.uint8)


def resized_size(height: tf.Tensor, width: tf.Tensor, min_size: tf.Tensor, max_size: tf.Tensor) -> tf.Tensor:
    """Computes the size to which a picture is resized: `base.image_size.resized_size` as a tensor.

    Args:
        height, width: int32 [], size of the picture.
        min_size, max_size: int32 [] or int, pixels.

    Returns:
        int32 [2], (h, w).

    Example:
        >>> resized_size(480, 640, 800, 1333).numpy().tolist()
        [800, 1066]
    """
    return tf.stack(image_size.resized_size(height, width, min_size, max_size, xp=tf))


def resize_to(image: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Resizes bilinearly: half-pixel centres, no antialias.

    Args:
        image: [H, W, C] or [B, H, W, C], any number type.
        size: int32 [2], (h, w).

    Returns:
        float32 [h, w, C] or [B, h, w, C].
    """
    return tf.image.resize(image, size, method="bilinear", antialias=False)


def pad_to_multiple(image: tf.Tensor, multiple: int = SIZE_MULTIPLE) -> tf.Tensor:
    """Pads an image or a batch with zeros, right and bottom, to sides that are multiples of `multiple`.

    Args:
        image: [h, w, C] or [B, h, w, C], any number type.
        multiple: pixels.

    Returns:
        The padded image or batch, of the same rank and type.
    """
    shape = tf.shape(image)
    # The runtimes that this is exported to agree on remainders of numbers that are not negative only.
    bottom, right = ((multiple - shape[axis] % multiple) % multiple for axis in (-3, -2))
    paddings = [[0, bottom], [0, right], [0, 0]]
    return tf.pad(image, [[0, 0]] * (image.shape.rank - 3) + paddings)


def scale_boxes(boxes: tf.Tensor, old_size: tf.Tensor, new_size: tf.Tensor) -> tf.Tensor:
    """Scales boxes along with a resized image, each axis by its own ratio.

    Args:
        boxes: float32 [..., 4], xyxy pixels of the old image.
        old_size, new_size: int32 [2], (h, w).

    Returns:
        float32 [..., 4], xyxy pixels of the new image.
    """
    ratio = tf.cast(new_size, tf.float32) / tf.cast(old_size, tf.float32)
    return boxes * tf.stack([ratio[1], ratio[0], ratio[1], ratio[0]])
