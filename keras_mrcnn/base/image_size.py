"""Computes the size of an image after the resize, with integers alone.

torchvision multiplies in float64, and the rounding matters: 800 / 161 * 161 is a little less than 800, so the short
side of that image becomes 799. Runtimes without float64 (OpenVINO computes it in float32) would give other sizes, and
so other detections. This module gives the same sizes with integers below 2^31. Because OpenVINO also divides and
compares integers in float32, only quotients below 2^22 are ever rounded.
"""

from __future__ import annotations

from typing import Any

import numpy as np

BITS, STEPS = 13, 4  # 52 binary digits follow the first one of a float64
POWERS = (2**8, 2**4, 2**2, 2)  # any power of two up to 2^15 is a product of some of these


def resized_size(height: Any, width: Any, min_size: Any, max_size: Any, xp: Any = np) -> tuple[Any, Any]:
    """Returns the size whose short side is `min_size`, or whose long side is `max_size` if that gives a smaller image.

    Args:
        height, width: int or int32 [...], size of the image, pixels, 1 to 2^16 and at most 2^15 times the target.
        min_size, max_size: int or int32 [...], pixels, at most 2^14.
        xp: array module to compute with: `numpy`, or `tensorflow` within a graph.

    Returns:
        (h, w), int32 [...] each, at least 1: int(side * min(min_size / short side, max_size / long side)) as computed
        in float64.

    Example:
        >>> [int(side) for side in resized_size(480, 640, 800, 1333)]
        [800, 1066]
        >>> [int(side) for side in resized_size(161, 200, 800, 1333)]
        [799, 993]

    Reference:
        torchvision `models/detection/transform.py`, `_resize_image_and_masks`.
    """
    short, long = xp.minimum(height, width), xp.maximum(height, width)
    by_short = min_size * long <= max_size * short
    target, length = xp.where(by_short, min_size, max_size), xp.where(by_short, short, long)
    remainder, numerator = _rounded_off(target, length, xp)
    return tuple(_scaled(side, target, length, remainder, numerator, xp) for side in (height, width))


def _scaled(side: Any, target: Any, length: Any, remainder: Any, numerator: Any, xp: Any) -> Any:
    """Returns int(side * (target / length)) as computed in float64.

    Let n = side * target / length be an integer. In float64 the product falls below n, so that int gives n - 1, if the
    scale target / length was rounded down by so much that the product is nearer to the float64 number below n.
    """
    size, rest = _divide(side * target, length, xp)
    below = _power_below(size - 1, xp)  # the largest power of two that is less than n
    is_one_less = (rest == 0) & (2 * remainder * size - below * numerator > 0)
    return xp.maximum(xp.where(is_one_less, size - 1, size), 1)


def _rounded_off(target: Any, length: Any, xp: Any) -> tuple[Any, Any]:
    """Returns (remainder, numerator): how much of target / length the rounding of float64 drops.

    Float64 multiplies by powers of two without rounding, so these first turn target / length into numerator /
    denominator, which is at least 1 and less than 2. Of its last binary digit float64 drops the share remainder /
    denominator; the remainder is 0 where it rounds up.
    """
    denominator = length * _power_below(target // length, xp)
    # The smallest power of two that makes the target no smaller than the length.
    up = _power_below((length - 1) // target, xp) * xp.where(length > target, 2, 1)
    numerator = target * up
    remainder = numerator - denominator
    for _ in range(STEPS):
        _, remainder = _divide(remainder * 2**BITS, denominator, xp)
    return xp.where(2 * remainder < denominator, remainder, 0), numerator


def _power_below(value: Any, xp: Any) -> Any:
    """Returns the largest power of two that is at most `value`, or 1 for values below 1."""
    power = xp.where(value > 0, 1, 1)
    for factor in POWERS:
        power = xp.where(value >= power * factor, power * factor, power)
    return power


def _divide(dividend: Any, divisor: Any, xp: Any) -> tuple[Any, Any]:
    """Returns quotient and remainder of integers >= 0, exact even if the division has only float32 precision."""
    quotient = dividend // divisor
    rest = dividend - quotient * divisor
    quotient = xp.where(rest >= divisor, quotient + 1, xp.where(rest < 0, quotient - 1, quotient))
    return quotient, dividend - quotient * divisor
