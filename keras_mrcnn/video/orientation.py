"""Which way up a video is to be shown. Phones store every frame as the sensor gives it, and a matrix that turns it.

Shapes: H W of an image.
"""

from __future__ import annotations

import numpy as np

AS_STORED = np.eye(2, dtype=np.int64)


def display_matrix(frame) -> np.ndarray:
    """The display matrix of a decoded frame, without its shift.

    Args:
        frame: `av.VideoFrame`.

    Returns:
        int64 [2, 2], 16.16 fixed point: (x, y) @ matrix is where a stored point is shown, x to the right and y down.
        The identity where the frame has none.

    Reference:
        FFmpeg `libavutil/display.h`.
    """
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            return np.frombuffer(data, np.int32).reshape(3, 3)[:2, :2].astype(np.int64)
    return AS_STORED


def is_turned(matrix: np.ndarray) -> bool:
    """Whether the matrix makes rows of columns: a turn of about 90 or 270 degrees, mirrored or not."""
    (a, b), (c, d) = np.abs(matrix)
    return bool(b + c > a + d)


def upright(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Turns and mirrors a stored image by right angles; any other angle is taken for the nearest of these.

    Args:
        image: [H, W, 3].
        matrix: [2, 2], as `display_matrix` gives it.

    Returns:
        [H, W, 3] or [W, H, 3], contiguous.
    """
    (a, b), (c, d) = matrix
    across, down = a, d  # the shown x grows or falls with the stored x, and y with y
    if is_turned(matrix):
        across, down = c, b
        image = image.swapaxes(0, 1)
    return np.ascontiguousarray(image[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])
