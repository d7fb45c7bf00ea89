"""Image transforms as TensorFlow functions, with torchvision's numbers.

The input pipeline and the exported models share them, so they take tensors of unknown size and hold no state.

Shapes: H W of the image, G ground truths, S side of a compact mask.
"""

from __future__ import annotations

import tensorflow as tf

PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)
SIZE_MULTIPLE = 32


def normalise(image: tf.Tensor) -> tf.Tensor:
    """Brings RGB of 0..255 to zero mean and unit deviation, as ImageNet models take it.

    Args:
        image: uint8 or float [..., 3], RGB, 0..255.

    Returns:
        float32 [..., 3].

    Example:
        >>> normalise(tf.constant([255, 0, 0], tf.uint8)).numpy().round(3)
        array([ 2.249, -2.036, -1.804], dtype=float32)
    """
    image = tf.cast(image, tf.float32) / 255.0
    return (image - tf.constant(PIXEL_MEAN)) / tf.constant(PIXEL_STD)


def denormalise(image: tf.Tensor) -> tf.Tensor:
    """Turns what `normalise` made back into a picture.

    Args:
        image: float32 [..., 3].

    Returns:
        uint8 [..., 3], RGB.
    """
    image = (image * tf.constant(PIXEL_STD) + tf.constant(PIXEL_MEAN)) * 255.0
    return tf.cast(tf.round(tf.clip_by_value(image, 0.0, 255.0)), tf.uint8)


def change_colours(image: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Changes brightness, then contrast, then saturation.

    Each is a blend: with black, with the mean grey of the image, with the grey of each pixel. A factor of 1 changes
    nothing, 0 leaves only what is blended in, and above 1 the image moves away from it.

    Args:
        image: uint8 or float [H, W, 3], RGB, 0..255.
        factors: float32 [3], for brightness, contrast and saturation, none negative.

    Returns:
        float32 [H, W, 3], 0..255.

    Example:
        >>> change_colours(tf.constant([[[10, 20, 200]]], tf.uint8), [2.0, 1.0, 1.0]).numpy().tolist()
        [[[20.0, 40.0, 255.0]]]
    """
    brightness, contrast, saturation = tf.unstack(tf.convert_to_tensor(factors))
    image = tf.clip_by_value(tf.cast(image, tf.float32) * brightness, 0.0, 255.0)
    grey = tf.reduce_mean(_grey(image))
    image = tf.clip_by_value(grey + (image - grey) * contrast, 0.0, 255.0)
    grey = _grey(image)
    return tf.clip_by_value(grey + (image - grey) * saturation, 0.0, 255.0)


def _grey(image: tf.Tensor) -> tf.Tensor:
    """Luma of RGB: [..., 1] (ITU-R BT.601, as JPEG has it)."""
    return tf.reduce_sum(image * tf.constant([0.299, 0.587, 0.114]), axis=-1, keepdims=True)


def resize_scale(height: tf.Tensor, width: tf.Tensor, min_size: tf.Tensor, max_size: tf.Tensor) -> tf.Tensor:
    """The factor that brings the short side to `min_size`, or the long one to `max_size` where that is less.

    Args:
        height, width: int32 [], size of the image.
        min_size, max_size: int32 [] or int, pixels.

    Returns:
        float64 []; in float32 some sizes would come out a pixel larger than torchvision's.
    """
    height, width = tf.cast(height, tf.float64), tf.cast(width, tf.float64)
    short, long = tf.minimum(height, width), tf.maximum(height, width)
    return tf.minimum(tf.cast(min_size, tf.float64) / short, tf.cast(max_size, tf.float64) / long)


def resized_size(
    height: tf.Tensor, width: tf.Tensor, min_size: tf.Tensor, max_size: tf.Tensor, jitter: tf.Tensor | float = 1.0
) -> tf.Tensor:
    """The size of an image after the resize: int(side * scale), at least 1.

    Args:
        height, width: int32 [], size of the image.
        min_size, max_size: int32 [] or int, pixels.
        jitter: float [], multiplies the scale.

    Returns:
        int32 [2], (h, w).

    Example:
        >>> resized_size(480, 640, 800, 1333).numpy().tolist(), resized_size(161, 200, 800, 1333).numpy().tolist()
        ([800, 1066], [799, 993])
    """
    scale = resize_scale(height, width, min_size, max_size) * tf.cast(jitter, tf.float64)
    sides = tf.cast(tf.stack([height, width]), tf.float64)
    return tf.maximum(tf.cast(sides * scale, tf.int32), 1)


def resize_to(image: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Resizes bilinearly: half-pixel centres, no antialias.

    Args:
        image: [H, W, C], any number type.
        size: int32 [2], (h, w).

    Returns:
        float32 [h, w, C].
    """
    return tf.image.resize(image, size, method="bilinear", antialias=False)


def resize_image(image: tf.Tensor, min_size: tf.Tensor, max_size: tf.Tensor) -> tf.Tensor:
    """Resizes as torchvision does: `resized_size`, then `resize_to`.

    Args:
        image: [H, W, C], any number type.
        min_size, max_size: int32 [] or int, pixels.

    Returns:
        float32 [h, w, C].

    Reference:
        torchvision `models/detection/transform.py`, `_resize_image_and_masks`.
    """
    shape = tf.shape(image)
    return resize_to(image, resized_size(shape[0], shape[1], min_size, max_size))


def warp(image: tf.Tensor, source_map: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Samples an image bilinearly wherever an affine map leads; for a resize this is `resize_to`.

    Args:
        image: float32 [H, W, C].
        source_map: float64 [2, 3], takes a point (x, y, 1) of the result to the one of the image that it shows; pixel
            (row i, column j) of both covers [j, j + 1] x [i, i + 1].
        size: int32 [2], (h, w) of the result.

    Returns:
        float32 [h, w, C]; 0 where the image is not.
    """
    # The operation counts in pixel centres, and takes the rows one after the other with two zeros at the end.
    shift = tf.reduce_sum(source_map[:, :2], axis=1, keepdims=True) / 2 - 0.5
    rows = tf.concat([source_map[:, :2], source_map[:, 2:] + shift], axis=1)
    transforms = tf.cast(tf.concat([tf.reshape(rows, [6]), tf.zeros([2], rows.dtype)], axis=0), tf.float32)[None]

    def sample(pixels, interpolation, beyond):
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=pixels[None],
            transforms=transforms,
            output_shape=size,
            interpolation=interpolation,
            fill_mode=beyond,
            fill_value=0.0,
        )[0]

    inside = sample(tf.ones_like(image[..., :1]), "NEAREST", "CONSTANT")
    return sample(image, "BILINEAR", "NEAREST") * inside


def scale_boxes(boxes: tf.Tensor, old_size: tf.Tensor, new_size: tf.Tensor) -> tf.Tensor:
    """Moves boxes along with a resize, each axis by its own ratio.

    Args:
        boxes: float32 [G, 4], xyxy pixels of the old image.
        old_size, new_size: int32 [2], (h, w).

    Returns:
        float32 [G, 4], xyxy pixels of the new image.
    """
    ratio = tf.cast(new_size, tf.float32) / tf.cast(old_size, tf.float32)
    return boxes * tf.stack([ratio[1], ratio[0], ratio[1], ratio[0]])


def flip(image: tf.Tensor, boxes: tf.Tensor, masks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Mirrors an image left to right, with its objects.

    Args:
        image: [H, W, C].
        boxes: float32 [G, 4], xyxy pixels.
        masks: [G, S, S], inside the boxes.

    Returns:
        the three of them, mirrored, same shapes and types.
    """
    width = tf.cast(tf.shape(image)[1], boxes.dtype)
    x1, y1, x2, y2 = tf.unstack(boxes, axis=-1)
    mirrored = tf.stack([width - x2, y1, width - x1, y2], axis=-1)
    return tf.reverse(image, [1]), mirrored, tf.reverse(masks, [2])


def pad_to_multiple(image: tf.Tensor, multiple: int = SIZE_MULTIPLE) -> tf.Tensor:
    """Pads an image or a batch with zeros, right and bottom, to sides that are multiples of `multiple`.

    Args:
        image: [H, W, C] or [B, H, W, C].

    Returns:
        the same rank and type.
    """
    shape = tf.shape(image)
    # Of numbers that are not negative, every runtime that this is exported to gives the same remainder.
    bottom, right = ((multiple - shape[axis] % multiple) % multiple for axis in (-3, -2))
    paddings = [[0, bottom], [0, right], [0, 0]]
    return tf.pad(image, [[0, 0]] * (image.shape.rank - 3) + paddings)
