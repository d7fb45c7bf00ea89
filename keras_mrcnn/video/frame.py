"""The frames of a video, and the error of a video that cannot be read.

Shapes: H W of the upright frame.
"""

from typing import NamedTuple

import numpy as np

from keras_mrcnn.base.errors import UserError


class VideoError(UserError):
    """Error of a video that cannot be read, or not to its end. The message is one sentence that names the video."""


class Frame(NamedTuple):
    """One frame of a video.

    Args:
        image: uint8 [H, W, 3], RGB.
        time: when the frame is shown, in ticks of the source.
        duration: how long the frame is shown, in ticks; 0 if unknown.
    """

    image: np.ndarray
    time: int
    duration: int
