"""Whether a COCO segmentation can be used: polygons, run-length codes, compressed run-length codes.

pycocotools hands these to C code that trusts them, so they are checked beforehand, in Python.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

from pycocotools import mask as mask_api

FARTHEST = 10  # image sides; pycocotools walks along each edge of a polygon, and crashes where that is very long


def segmentation_fault(segmentation: Any, height: int, width: int) -> str | None:
    """Says what is wrong with a segmentation.

    Args:
        segmentation: the value of the field in an annotation.
        height, width: size of the image, pixels.

    Returns:
        what is wrong, or None.

    Example:
        >>> segmentation_fault([[0, 0, 2, 0]], 4, 4)
        'polygon 1 has 4 numbers; it needs x and y of at least 3 points'
    """
    if isinstance(segmentation, list):
        fault = _polygons_fault(segmentation, FARTHEST * max(height, width))
        if fault:
            return fault
        code = mask_api.merge(mask_api.frPyObjects(segmentation, height, width))
        return None if mask_api.area(code) else "the polygons cover no pixel of the image"
    if isinstance(segmentation, dict):
        return _run_length_fault(segmentation, height, width)
    return "there is no segmentation; it must be a list of polygons or a run-length code"


def _polygons_fault(polygons: list, limit: float) -> str | None:
    if not polygons:
        return "the list of polygons is empty"
    for number, polygon in enumerate(polygons, start=1):
        if not isinstance(polygon, list) or not all(_is_number(value) for value in polygon):
            return f"polygon {number} is not a list of numbers"
        if len(polygon) < 6 or len(polygon) % 2:
            return f"polygon {number} has {len(polygon)} numbers; it needs x and y of at least 3 points"
        if not all(isfinite(value) for value in polygon):
            return f"polygon {number} has a coordinate that is not a finite number"
        if not all(-limit <= value <= limit for value in polygon):
            return f"polygon {number} has a coordinate far outside the image"
    return None


def _run_length_fault(code: dict, height: int, width: int) -> str | None:
    if code.get("size") != [height, width]:
        return f"the run-length code has size {code.get('size')}, the image [{height}, {width}]"
    counts = code.get("counts")
    if isinstance(counts, str):
        counts = _uncompress(counts)
        if counts is None:
            return "the compressed run-length code is malformed"
    elif not isinstance(counts, list) or not all(isinstance(c, int) and not isinstance(c, bool) for c in counts):
        return "the run-length code has no counts"
    if any(count < 0 for count in counts):
        return "the run-length code has a negative count"
    if sum(counts) != height * width:
        return f"the run-length code covers {sum(counts)} pixels, the image has {height * width}"
    return None if sum(counts[1::2]) else "the run-length code marks no pixel"


def _uncompress(text: str) -> list[int] | None:
    """Decodes COCO's compressed counts (5 bits a character, differences to the count before last); None if it fails."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
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


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
