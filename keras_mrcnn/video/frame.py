"""What every source of frames gives, and what it raises.

Shapes: H W of the upright frame.
"""

from typing import NamedTuple

import numpy as np

from keras_mrcnn.base.errors import UserError


class VideoError(UserError):
    """A video that cannot be read, as a whole or to its end; the message is one sentence that names it."""


class Frame(NamedTuple):
    """One frame: uint8 [H, W, 3] RGB; when it is shown and for how long (0: unknown), in ticks of the source."""

    image: np.ndarray
    time: int
    duration: int
