"""Image transforms of the augmentation, as TensorFlow functions.

Shapes: H W of the image, G ground truths, S side of a compact mask.
"""

from __future__ import annotations

import tensorflow as tf


def change_colours(image: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Changes brightness, then contrast, then saturation.

    Each is a blend: with black, with the mean grey of the image, with the grey of each pixel. A factor of 1 changes
    nothing, 0 leaves only what is blended in, and above 1 the image moves away from it.

    Args:
        image: uint8 or float [H, W, C], 0..255; C is 1 (grey), 3 (RGB) or 4 (RGB with alpha, which stays).
        factors: float32 [3], for brightness, contrast and saturation, none negative.

    Returns:
        float32 [H, W, C], 0..255.

    Example:
        >>> change_colours(tf.constant([[[10, 20, 200]]], tf.uint8), [2.0, 1.0, 1.0]).numpy().tolist()
        [[[20.0, 40.0, 255.0]]]
    """
    brightness, contrast, saturation = tf.unstack(tf.convert_to_tensor(factors))
    alpha = tf.cast(image[..., 3:], tf.float32)
    image = tf.clip_by_value(tf.cast(image[..., :3], tf.float32) * brightness, 0.0, 255.0)
    grey = tf.reduce_mean(_grey(image))
    image = tf.clip_by_value(grey + (image - grey) * contrast, 0.0, 255.0)
    grey = _grey(image)
    return tf.concat([tf.clip_by_value(grey + (image - grey) * saturation, 0.0, 255.0), alpha], axis=-1)


def _grey(image: tf.Tensor) -> tf.Tensor:
    """Luma of RGB or grey: [..., 1] (ITU-R BT.601, as JPEG has it)."""
    if image.shape[-1] == 1:
        return image
    return tf.reduce_sum(image * tf.constant([0.299, 0.587, 0.114]), axis=-1, keepdims=True)


def warp(image: tf.Tensor, source_map: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Samples an image bilinearly wherever an affine map leads; for a resize this is `ops.images.resize_to`.

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
