"""Image transforms of the augmentation, as TensorFlow functions.

Shapes: H and W height and width of the image, C channels, G ground truths, S side of a compact mask.
"""

from __future__ import annotations

import tensorflow as tf


def change_colours(image: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Changes brightness, then contrast, then saturation.

    Each change blends the image with another: brightness with black, contrast with the mean grey of the image,
    saturation with the grey of each pixel. A factor of 1 changes nothing, 0 leaves only the other image, and a factor
    above 1 moves away from it.

    Args:
        image: uint8 or float [H, W, C], 0..255; C is 1 (grey), 3 (RGB) or 4 (RGB with alpha, which does not change).
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
    """Returns the luma of an RGB or grey image: [..., 1] (ITU-R BT.601, as in JPEG)."""
    if image.shape[-1] == 1:
        return image
    return tf.reduce_sum(image * tf.constant([0.299, 0.587, 0.114]), axis=-1, keepdims=True)


def warp(image: tf.Tensor, source_map: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Warps an image by an affine map, bilinearly.

    If the map only resizes and moves by whole pixels, `ops.images.resize_to` and `place` give the same in a tenth of
    the time.

    Args:
        image: float32 [H, W, C].
        source_map: float64 [2, 3], maps a point (x, y, 1) of the result to its point in the image. In both, pixel
            (row i, column j) covers [j, j + 1] x [i, i + 1].
        size: int32 [2], (h, w) of the result.

    Returns:
        float32 [h, w, C]; 0 outside the image.
    """
    # The operation counts from pixel centres, and takes the two rows of the map in one vector that ends in two zeros.
    shift = tf.reduce_sum(source_map[:, :2], axis=1, keepdims=True) / 2 - 0.5
    rows = tf.concat([source_map[:, :2], source_map[:, 2:] + shift], axis=1)
    transforms = tf.cast(tf.concat([tf.reshape(rows, [6]), tf.zeros([2], rows.dtype)], axis=0), tf.float32)[None]

    def sample(pixels: tf.Tensor, interpolation: str, fill_mode: str) -> tf.Tensor:
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=pixels[None],
            transforms=transforms,
            output_shape=size,
            interpolation=interpolation,
            fill_mode=fill_mode,
            fill_value=0.0,
        )[0]

    inside = sample(tf.ones_like(image[..., :1]), "NEAREST", "CONSTANT")
    return sample(image, "BILINEAR", "NEAREST") * inside


def place(image: tf.Tensor, corner: tf.Tensor, canvas_size: tf.Tensor) -> tf.Tensor:
    """Places an image on a canvas of zeros; what lies outside the canvas is cut off.

    Args:
        image: [H, W, C].
        corner: int32 [2], (x, y), pixel of the canvas at the upper left corner of the image; may be negative.
        canvas_size: int32 [2], (h, w).

    Returns:
        [h, w, C], of the type of the image.

    Example:
        >>> place(tf.constant([[[1], [2], [3]]]), tf.constant([-1, 1]), tf.constant([2, 3]))[..., 0].numpy().tolist()
        [[0, 0, 0], [2, 3, 0]]
    """
    start, before = tf.maximum(-corner[::-1], 0), tf.maximum(corner[::-1], 0)
    stop = start + tf.maximum(canvas_size - before, 0)
    inside = image[start[0] : stop[0], start[1] : stop[1]]
    after = canvas_size - before - tf.shape(inside)[:2]
    return tf.pad(inside, [[before[0], after[0]], [before[1], after[1]], [0, 0]])


def flip(image: tf.Tensor, boxes: tf.Tensor, masks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Mirrors an image and its objects left to right.

    Args:
        image: [H, W, C].
        boxes: float32 [G, 4], xyxy pixels.
        masks: [G, S, S], compact masks inside the boxes.

    Returns:
        Mirrored image, boxes and masks, with the same shapes and types.
    """
    width = tf.cast(tf.shape(image)[1], boxes.dtype)
    x1, y1, x2, y2 = tf.unstack(boxes, axis=-1)
    mirrored = tf.stack([width - x2, y1, width - x1, y2], axis=-1)
    return tf.reverse(image, [1]), mirrored, tf.reverse(masks, [2])


def compact_mask(mask: tf.Tensor, box: tf.Tensor, size: int) -> tf.Tensor:
    """Returns the compact mask of an object: `data.compact_masks.compact_mask` in TensorFlow.

    Args:
        mask: bool or uint8 [H, W], not 0 where the object is; pixel (y, x) covers [y, y + 1] x [x, x + 1].
        box: float [4], xyxy pixels, with an area; it may reach beyond the mask, where nothing is covered.
        size: cells along each side, S.

    Returns:
        uint8 [S, S], coverage of each cell, 0..255.

    Example:
        >>> compact_mask(tf.eye(2, dtype=tf.uint8), tf.constant([0.0, 0.0, 2.0, 2.0]), 2).numpy().tolist()
        [[255, 0], [0, 255]]
    """
    x1, y1, x2, y2 = tf.unstack(tf.cast(box, tf.float64))
    # Only the pixels that the box touches matter.
    left, top = tf.maximum(tf.floor(x1), 0), tf.maximum(tf.floor(y1), 0)
    first, last = tf.cast(tf.stack([top, left]), tf.int32), tf.cast(tf.math.ceil(tf.stack([y2, x2])), tf.int32)
    patch = mask[first[0] : last[0], first[1] : last[1]]
    rows = _cell_weights(y1 - top, y2 - top, size, tf.shape(patch)[0])
    columns = _cell_weights(x1 - left, x2 - left, size, tf.shape(patch)[1])
    covered = rows @ tf.cast(tf.cast(patch, tf.bool), tf.float64) @ tf.transpose(columns)
    return tf.cast(tf.round(255.0 * tf.clip_by_value(covered, 0.0, 1.0)), tf.uint8)


def _cell_weights(start: tf.Tensor, stop: tf.Tensor, size: int, pixels: tf.Tensor) -> tf.Tensor:
    """Returns the share of each of `size` cells of [start, stop] that each pixel covers: float64 [size, pixels]."""
    side = (stop - start) / size
    lower = (start + side * tf.range(size, dtype=tf.float64))[:, None]
    pixel = tf.cast(tf.range(pixels), tf.float64)
    overlap = tf.minimum(lower + side, pixel + 1.0) - tf.maximum(lower, pixel)
    return tf.maximum(overlap, 0.0) / side
