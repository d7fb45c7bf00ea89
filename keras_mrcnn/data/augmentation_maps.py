"""Affine maps from the pixels of an image file to those of the network's input.

Coordinates are continuous: pixel (row i, column j) covers [j, j + 1] x [i, i + 1], so a resize by s maps x to s * x.
A map is float64 [2, 3] and takes (x, y) to map @ (x, y, 1). Sizes are (h, w).
"""

from __future__ import annotations

import numpy as np

from keras_mrcnn.base.image_size import resized_size


def jittered_size(image_size: tuple[int, int], min_size: int, max_size: int, jitter: float) -> tuple[int, int]:
    """Returns the size of an image after a resize with both limits multiplied by `jitter`.

    Args:
        image_size: size of the image file.
        min_size: short side without jitter, pixels.
        max_size: limit of the long side without jitter, pixels.
        jitter: factor on both; the products are rounded to whole pixels.

    Returns:
        (h, w) after the resize.

    Example:
        >>> jittered_size((480, 640), 800, 1333, 1.0), jittered_size((480, 640), 800, 1333, 0.5)
        ((800, 1066), (400, 533))
    """
    limits = (max(round(limit * jitter), 1) for limit in (min_size, max_size))
    height, width = resized_size(*image_size, *limits)
    return int(height), int(width)


def placed_map(
    image_size: tuple[int, int],
    new_size: tuple[int, int],
    canvas_size: tuple[int, int],
    place: tuple[float, float] = (0.0, 0.0),
    angle: float = 0.0,
    mirrored: bool = False,
) -> np.ndarray:
    """Returns the map that resizes an image, rotates it about its centre and places it on a canvas, by whole pixels.

    Args:
        image_size: size of the image file.
        new_size: size of the image after the resize.
        canvas_size: size of the canvas.
        place: (x, y) in 0..1; 0 aligns the left (upper) edges of image and canvas, 1 the right (lower) edges, whichever
            of the two is larger. All whole offsets in between have equal shares of 0..1.
        angle: rotation in degrees, counter-clockwise as seen.
        mirrored: whether the image is mirrored left to right first.

    Returns:
        float64 [2, 3], from pixels of the image file to pixels of the canvas.

    Example:
        >>> placed_map((2, 4), (4, 8), (4, 6), place=(1, 0))
        array([[ 2.,  0., -2.],
               [ 0.,  2.,  0.]])
    """
    height, width = new_size
    matrix = np.array([[width / image_size[1], 0, 0], [0, height / image_size[0], 0], [0, 0, 1]], np.float64)
    if mirrored:
        matrix = np.array([[-1, 0, width], [0, 1, 0], [0, 0, 1]]) @ matrix
    if angle:
        # y points down, so this rotates counter-clockwise as seen.
        cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        turn = np.array([[cosine, sine], [-sine, cosine]])
        centre = np.array([width, height]) / 2
        matrix = np.block([[turn, (centre - turn @ centre)[:, None]], [np.zeros((1, 2)), 1]]) @ matrix
    free = np.array(canvas_size[::-1]) - [width, height]
    steps = np.floor((np.abs(free) + 1) * np.array(place))
    matrix[:2, 2] += np.sign(free) * np.minimum(steps, np.abs(free))
    return matrix[:2] + 0.0  # turns -0.0 into 0.0


def map_points(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Returns points mapped by an affine map.

    Args:
        matrix: float64 [2, 3].
        points: float [n, 2], (x, y).

    Returns:
        float64 [n, 2].
    """
    return points @ matrix[:, :2].T + matrix[:, 2]


def inverse_map(matrix: np.ndarray) -> np.ndarray:
    """Returns the inverse of a map: float64 [2, 3]."""
    (a, b, _), (c, d, _) = matrix
    # Written out, because LAPACK starts its own threads even for this, and they slow down those of the pipeline.
    inverse = np.array([[d, -b], [-c, a]]) / (a * d - b * c)
    return np.concatenate([inverse, -inverse @ matrix[:, 2:]], axis=1)


def keeps_axes(matrix: np.ndarray) -> bool:
    """Returns whether a map keeps boxes upright, so that a mapped box is a box again."""
    return matrix[0, 1] == 0 == matrix[1, 0]


def extent(points: np.ndarray) -> np.ndarray:
    """Returns the box around points [n, 2]: float64 [4], xyxy."""
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def corners_of(box: np.ndarray) -> np.ndarray:
    """Returns the four corners of an xyxy box: float64 [4, 2], (x, y)."""
    x1, y1, x2, y2 = box
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float64)
