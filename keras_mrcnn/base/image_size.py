"""The size of an image after the resize, in whole numbers.

torchvision multiplies in float64, and its rounding shows: 800 / 161 * 161 is a little less than 800, so the short side
of that image becomes 799. Runtimes without float64 (OpenVINO computes it in float32) would give other sizes, and with
them other detections. Here the same sizes come out of whole numbers below 2^31, of which only quotients below 2^22 are
ever rounded: OpenVINO divides and compares whole numbers in float32 too.
"""

from __future__ import annotations

from typing import Any

import numpy as np

BITS, STEPS = 13, 4  # 52 binary digits follow the first one of a float64
POWERS = (2**8, 2**4, 2**2, 2)  # any power of two up to 2^15 is a product of some of these


def resized_size(height: Any, width: Any, min_size: Any, max_size: Any, xp: Any = np) -> tuple[Any, Any]:
    """Returns the size that brings the short side to `min_size`, or the long one to `max_size` where that is less.

    Args:
        height, width: int or int32 [...], size of the image, pixels, 1 to 2^16 and at most 2^15 times the target.
        min_size, max_size: int or int32 [...], pixels, at most 2^14.
        xp: the module that computes: `numpy`, or `tensorflow` within a graph.

    Returns:
        (h, w), int32 [...] each, at least 1: int(side * min(min_size / short side, max_size / long side)) as float64
        gives it.

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
    """Returns int(side * (target / length)) as float64 gives it.

    Let n = side * target / length be a whole number. In float64 it comes out below n, and so as n - 1, where the scale
    target / length was rounded down, and by so much that n times it is nearer to the float64 number below n.
    """
    size, rest = _divide(side * target, length, xp)
    below = _power_below(size - 1, xp)  # the largest power of two that is less than n
    is_one_less = (rest == 0) & (2 * remainder * size - below * numerator > 0)
    return xp.maximum(xp.where(is_one_less, size - 1, size), 1)


def _rounded_off(target: Any, length: Any, xp: Any) -> tuple[Any, Any]:
    """Returns what float64 drops of target / length, in its last binary digits times numerator: (remainder, numerator).

    Powers of two, by which float64 divides without rounding, first bring both to 1 <= numerator / denominator < 2. The
    remainder is 0 where float64 rounds up.
    """
    denominator = length * _power_below(target // length, xp)
    # The smallest power of two that makes the target at least as large as the length.
    up = _power_below((length - 1) // target, xp) * xp.where(length > target, 2, 1)
    numerator = target * up
    remainder = numerator - denominator
    for _ in range(STEPS):
        _, remainder = _divide(remainder * 2**BITS, denominator, xp)
    return xp.where(2 * remainder < denominator, remainder, 0), numerator


def _power_below(value: Any, xp: Any) -> Any:
    """Returns the largest power of two that is at most `value`, and 1 for values below 1."""
    power = xp.where(value > 0, 1, 1)
    for factor in POWERS:
        power = xp.where(value >= power * factor, power * factor, power)
    return power


def _divide(dividend: Any, divisor: Any, xp: Any) -> tuple[Any, Any]:
    """Returns quotient and remainder of numbers >= 0, also where the division has no more than float32's precision."""
    quotient = dividend // divisor
    rest = dividend - quotient * divisor
    quotient = xp.where(rest >= divisor, quotient + 1, xp.where(rest < 0, quotient - 1, quotient))
    return quotient, dividend - quotient * divisor
