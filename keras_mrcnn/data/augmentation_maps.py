"""Affine maps from the pixels of an image file to those of the network's input, as TensorFlow functions.

Coordinates are continuous: pixel (row i, column j) covers [j, j + 1] x [i, i + 1], so a resize by s maps x to s * x.
A map is float64 [2, 3] and takes (x, y) to map @ (x, y, 1). Sizes are int32 [2], (h, w).
"""

from __future__ import annotations

import math

import tensorflow as tf

from keras_mrcnn.ops.images import resized_size


def jittered_size(image_size: tf.Tensor, min_size: tf.Tensor, max_size: int, jitter: tf.Tensor) -> tf.Tensor:
    """Returns the size of an image after a resize with both limits multiplied by `jitter`.

    Args:
        image_size: size of the image file.
        min_size: int32 [], short side without jitter, pixels.
        max_size: limit of the long side without jitter, pixels.
        jitter: float64 [], factor on both; the products are rounded to whole pixels.

    Returns:
        Size after the resize.

    Example:
        >>> jittered_size(tf.constant([480, 640]), 800, 1333, 0.5).numpy().tolist()
        [400, 533]
    """
    limits = tf.cast(tf.stack([min_size, max_size]), tf.float64) * jitter
    limits = tf.maximum(tf.cast(tf.round(limits), tf.int32), 1)
    return resized_size(image_size[0], image_size[1], limits[0], limits[1])


def placed_corner(new_size: tf.Tensor, canvas_size: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """Returns where an image is placed on a canvas, by whole pixels.

    Args:
        new_size: size of the image after the resize.
        canvas_size: size of the canvas.
        place: float64 [2], (x, y) in 0..1; 0 aligns the left (upper) edges of image and canvas, 1 the right (lower)
            edges, whichever of the two is larger. All whole offsets in between have equal shares of 0..1.

    Returns:
        int32 [2], (x, y), pixel of the canvas at the upper left corner of the image; negative where the image begins
        outside the canvas.

    Example:
        >>> placed_corner(tf.constant([4, 8]), tf.constant([4, 6]), tf.constant([1, 0], tf.float64)).numpy().tolist()
        [-2, 0]
    """
    free = tf.cast((canvas_size - new_size)[::-1], tf.float64)
    steps = tf.minimum(tf.floor((tf.abs(free) + 1) * place), tf.abs(free))
    return tf.cast(tf.sign(free) * steps, tf.int32)


def placed_map(
    image_size: tf.Tensor,
    new_size: tf.Tensor,
    canvas_size: tf.Tensor,
    place: tf.Tensor,
    angle: tf.Tensor,
    mirrored: tf.Tensor,
) -> tf.Tensor:
    """Returns the map that resizes an image, rotates it about its centre and places it on a canvas, by whole pixels.

    Args:
        image_size: size of the image file.
        new_size: size of the image after the resize.
        canvas_size: size of the canvas.
        place: float64 [2], (x, y) in 0..1, as for `placed_corner`.
        angle: float64 [], rotation in degrees, counter-clockwise as seen.
        mirrored: bool [], whether the image is mirrored left to right first.

    Returns:
        Map from pixels of the image file to pixels of the canvas.

    Example:
        >>> sizes = (tf.constant(size) for size in ([2, 4], [4, 8], [4, 6]))
        >>> placed_map(*sizes, tf.constant([1, 0], tf.float64), tf.constant(0, tf.float64), False).numpy()
        array([[ 2.,  0., -2.],
               [ 0.,  2.,  0.]])
    """
    old, new = (tf.cast(size[::-1], tf.float64) for size in (image_size, new_size))
    sign = tf.stack([tf.where(mirrored, -1.0, 1.0), 1.0])
    scale = tf.cast(sign, tf.float64) * new / old
    shift = tf.where(sign < 0, new, tf.zeros_like(new))
    # y points down, so this rotates counter-clockwise as seen. At 0 degrees, sine and cosine are exact.
    cosine, sine = tf.cos(angle * (math.pi / 180)), tf.sin(angle * (math.pi / 180))
    turn = tf.stack([tf.stack([cosine, sine]), tf.stack([-sine, cosine])])
    shift = tf.linalg.matvec(turn, shift - new / 2) + new / 2
    corner = tf.cast(placed_corner(new_size, canvas_size, place), tf.float64)
    matrix = tf.concat([turn * scale, (shift + corner)[:, None]], axis=1)
    return matrix + 0.0  # turns -0.0 into 0.0


def map_points(matrix: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
    """Returns points mapped by an affine map.

    Args:
        matrix: the map.
        points: float64 [n, 2], (x, y).

    Returns:
        float64 [n, 2].
    """
    return tf.matmul(points, matrix[:, :2], transpose_b=True) + matrix[:, 2]


def inverse_map(matrix: tf.Tensor) -> tf.Tensor:
    """Returns the inverse of a map."""
    (a, b, x), (c, d, y) = (tf.unstack(row) for row in tf.unstack(matrix))
    inverse = tf.stack([tf.stack([d, -b]), tf.stack([-c, a])]) / (a * d - b * c)
    return tf.concat([inverse, -tf.linalg.matvec(inverse, tf.stack([x, y]))[:, None]], axis=1)


def keeps_axes(matrix: tf.Tensor) -> tf.Tensor:
    """Returns whether a map keeps boxes upright, so that a mapped box is a box again: bool []."""
    return (matrix[0, 1] == 0) & (matrix[1, 0] == 0)


def extent(points: tf.Tensor) -> tf.Tensor:
    """Returns the box around points [n, 2]: float64 [4], xyxy."""
    return tf.concat([tf.reduce_min(points, axis=0), tf.reduce_max(points, axis=0)], axis=0)


def corners_of(box: tf.Tensor) -> tf.Tensor:
    """Returns the four corners of an xyxy box: [4, 2], (x, y)."""
    return tf.reshape(tf.gather(box, [0, 1, 2, 1, 2, 3, 0, 3]), [4, 2])
