"""Checks COCO segmentations: polygons, run-length codes and compressed run-length codes.

pycocotools passes them to C code that does not check them, and reads and writes out of bounds if they are malformed.
So only segmentations that `malformed_segmentation` accepts may reach it.
"""

from __future__ import annotations

from itertools import chain
from math import isfinite
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from keras_mrcnn.data.records import shortened

FARTHEST = 10  # image sides; pycocotools steps along each edge of a polygon, and crashes if an edge is very long
LONGEST_OUTLINE = 2**24  # pixels, for the same reason: pycocotools takes 40 bytes for each
MOST_GROUPS = 7  # of 5 bits in a compressed count; pycocotools writes 32-bit counts


def segmentation_fault(segmentation: Any, height: int, width: int) -> str | None:
    """Returns what is wrong with a segmentation.

    Args:
        segmentation: value of the field in an annotation, of any type.
        height, width: size of the image, pixels.

    Returns:
        The fault, or None if there is none.

    Example:
        >>> segmentation_fault([[0, 0, 2, 0]], 4, 4)
        'polygon 1 has 4 numbers; it needs x and y of at least 3 points'
    """
    fault = malformed_segmentation(segmentation, height, width)
    if fault:
        return fault
    if isinstance(segmentation, list):
        code = mask_api.merge(mask_api.frPyObjects(segmentation, height, width))
        return None if mask_api.area(code) else "the polygons cover no pixel of the image"
    return None if any(_counts(segmentation)[1::2]) else "the run-length code marks no pixel"


def malformed_segmentation(segmentation: Any, height: int, width: int) -> str | None:
    """Returns why pycocotools cannot read a segmentation; faster than `segmentation_fault`.

    Args:
        segmentation, height, width: as for `segmentation_fault`.

    Returns:
        The fault, or None if pycocotools can read it, even if it covers no pixel.
    """
    if isinstance(segmentation, list):
        return _polygons_fault(segmentation, FARTHEST * max(height, width))
    if isinstance(segmentation, dict):
        return _run_length_fault(segmentation, height, width)
    return "there is no segmentation; it must be a list of polygons or a run-length code"


def full_mask(segmentation: list | dict, height: int, width: int) -> np.ndarray:
    """Returns the full-size mask of a segmentation without faults: uint8 [H, W], 0 or 1.

    Example:
        >>> full_mask([[0, 0, 2, 0, 2, 1, 0, 1]], 2, 3).tolist()
        [[1, 1, 0], [0, 0, 0]]
    """
    code = segmentation
    if isinstance(segmentation, list):
        code = mask_api.merge(mask_api.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        code = mask_api.frPyObjects(segmentation, height, width)
    return mask_api.decode(code)


def _polygons_fault(polygons: list, limit: float) -> str | None:
    """Returns what is wrong with a list of polygons whose coordinates may be at most `limit`, or None."""
    if not polygons:
        return "the list of polygons is empty"
    for number, polygon in enumerate(polygons, start=1):
        if not isinstance(polygon, list) or not set(map(type, polygon)) <= {int, float}:
            return f"polygon {number} is not a list of numbers"
        if len(polygon) < 6 or len(polygon) % 2:
            return f"polygon {number} has {len(polygon)} numbers; it needs x and y of at least 3 points"
        # min and max miss a NaN that is not first; the sum does not.
        if not (-limit <= min(polygon) and max(polygon) <= limit and isfinite(sum(polygon))):
            return _coordinate_fault(number, polygon)
        if _is_long(polygon):
            return f"polygon {number} has an outline of more than {LONGEST_OUTLINE} pixels"
    return None


def _coordinate_fault(number: int, polygon: list) -> str:
    """Returns what is wrong with a polygon that has a bad coordinate."""
    finite = all(isinstance(value, int) or isfinite(value) for value in polygon)
    return f"polygon {number} has a coordinate {'far outside the image' if finite else 'that is not a finite number'}"


def _is_long(polygon: list) -> bool:
    """Returns whether an outline is longer than `LONGEST_OUTLINE`; an edge counts its larger step, in x or in y."""
    if len(polygon) * (max(polygon) - min(polygon)) <= LONGEST_OUTLINE:
        return False  # almost always, and without visiting each edge
    xs, ys = polygon[::2], polygon[1::2]
    edges = zip(xs, ys, chain(xs[1:], xs), chain(ys[1:], ys))
    return sum(max(abs(x1 - x0), abs(y1 - y0)) for x0, y0, x1, y1 in edges) > LONGEST_OUTLINE


def _run_length_fault(code: dict, height: int, width: int) -> str | None:
    """Returns what is wrong with a run-length code, or None."""
    size = code.get("size")
    if size != [height, width] or set(map(type, size)) != {int}:
        return f"the run-length code has size {shortened(size)}, the image [{height}, {width}]"
    counts = _counts(code)
    if counts is None:
        compressed = isinstance(code.get("counts"), (str, bytes))
        return "the compressed run-length code is malformed" if compressed else "the run-length code has no counts"
    if any(count < 0 for count in counts):
        return "the run-length code has a negative count"
    if sum(counts) != height * width:
        return f"the run-length code covers {shortened(sum(counts))} pixels, the image has {height * width}"
    return None


def _counts(code: dict) -> list[int] | None:
    """Returns the counts of a run-length code, compressed or not, or None if they are malformed."""
    counts = code.get("counts")
    if isinstance(counts, bytes):  # as pycocotools returns them
        counts = counts.decode("latin-1")
    if isinstance(counts, str):
        return _uncompress(counts)
    return counts if isinstance(counts, list) and set(map(type, counts)) <= {int} else None


def _uncompress(text: str) -> list[int] | None:
    """Decodes COCO's compressed counts (5 bits a character, differences to the count before last), or returns None."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift == 5 * MOST_GROUPS:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return None if shift else counts
