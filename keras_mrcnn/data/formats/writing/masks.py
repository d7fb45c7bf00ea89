"""Decodes the masks of objects that are to be written, no larger than their boxes."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as mask_api

EMPTY = "object whose mask is empty"
EMPTY_CROWD = "crowd region whose mask is empty"


def cropped_mask(code: dict) -> tuple[np.ndarray, int, int]:
    """Decodes the part of a mask that lies in its own box.

    Args:
        code: COCO's compressed run-length code.

    Returns:
        (mask, x, y): uint8 [h, w], and the column and row of its first pixel in the image.

    Example:
        >>> code = mask_api.encode(np.asfortranarray(np.eye(4, k=2, dtype=np.uint8)))
        >>> cropped_mask(code)[0].tolist(), cropped_mask(code)[1:]
        ([[1, 0], [0, 1]], (2, 0))
    """
    x, y, width, height = (int(value) for value in mask_api.toBbox(code))
    return mask_api.decode(code)[y : y + height, x : x + width], x, y
