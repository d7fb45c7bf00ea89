"""Turns the frames of a video upright. Phones store frames as the sensor records them, along with a display matrix.

Shapes: H W of an image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import av

AS_STORED = np.eye(2, dtype=np.int64)


def display_matrix(frame: av.VideoFrame) -> np.ndarray:
    """Returns the display matrix of a decoded frame, without its translation.

    Args:
        frame: frame that PyAV has decoded.

    Returns:
        int64 [2, 2], 16.16 fixed point: the stored point (x, y) is shown at (x, y) @ matrix, with x to the right and y
        down. The identity if the frame has no display matrix.

    Reference:
        FFmpeg `libavutil/display.h`.
    """
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            return np.frombuffer(data, np.int32).reshape(3, 3)[:2, :2].astype(np.int64)
    return AS_STORED


def is_turned(matrix: np.ndarray) -> bool:
    """Returns whether the matrix swaps rows and columns: a turn of about 90 or 270 degrees, mirrored or not."""
    (a, b), (c, d) = np.abs(matrix)
    return bool(b + c > a + d)


def upright(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Turns an image upright and mirrors it if necessary. Angles are rounded to the nearest right angle.

    Args:
        image: [H, W, 3], as stored.
        matrix: [2, 2], from `display_matrix`.

    Returns:
        [H, W, 3] or [W, H, 3], contiguous.
    """
    (a, b), (c, d) = matrix
    across, down = a, d  # negative: x or y is mirrored
    if is_turned(matrix):
        across, down = c, b
        image = image.swapaxes(0, 1)
    return np.ascontiguousarray(image[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])
