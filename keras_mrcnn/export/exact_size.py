"""The size of an image after the resize without a double-precision number.

`transforms.resized_size` computes in float64, as torchvision does, and its rounding shows: 800 / 161 * 161 is a little
less than 800, so the short side becomes 799. Runtimes without doubles (OpenVINO computes them in float32) get other
sizes by it, and with them other detections. Here the same comes out of whole numbers below 2^31, of which only the
quotients, kept below 2^22, need ever be rounded: OpenVINO divides and compares whole numbers in float32 too.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

POWERS = 2 ** np.arange(18, dtype=np.int32)
BITS, STEPS = 13, 4  # 52 binary digits follow the first one of a double


def resized_size(height, width, min_size, max_size):
    """What `transforms.resized_size` gives, bit by bit.

    Let n = side * target / length be a whole number. In float64 it comes out below n, and so as n - 1, where the scale
    target / length was rounded down, and by so much that n times it is nearer to the float64 number below n.

    Args:
        height, width: int32 [...], size of the image, 1 to 2^16 pixels.
        min_size, max_size: int, pixels, at most 2^14.

    Returns:
        int32 [..., 2], (h, w).

    Example:
        >>> resized_size(161, 200, 800, 1333).numpy().tolist()
        [799, 993]
    """
    sides = tf.stack([height, width], axis=-1)
    short, long = tf.reduce_min(sides, axis=-1, keepdims=True), tf.reduce_max(sides, axis=-1, keepdims=True)
    by_short = min_size * long - max_size * short <= 0
    target, length = tf.where(by_short, min_size, max_size), tf.where(by_short, short, long)
    size, rest = _divide(sides * target, length)
    remainder, numerator = _rounded_off(target, length)
    below = tf.reduce_max(tf.where(size[..., None] > POWERS, POWERS, 0), axis=-1)  # power of two
    one_less = (rest == 0) & (2 * remainder * size - below * numerator > 0)
    return tf.maximum(size - tf.cast(one_less, tf.int32), 1)


def _rounded_off(target, length):
    """What float64 drops of target / length, in its last binary digits times numerator: (remainder, numerator).

    Both are brought to 1 <= numerator / denominator < 2 by powers of two, which float64 does without rounding. The
    remainder is 0 where float64 rounds up.
    """
    denominator = length * tf.reduce_max(tf.where(target // length >= POWERS, POWERS, 1), axis=-1, keepdims=True)
    numerator = target * tf.reduce_min(tf.where(target * POWERS >= length, POWERS, POWERS[-1]), axis=-1, keepdims=True)
    remainder = numerator - denominator
    for _ in range(STEPS):
        _, remainder = _divide(remainder * 2**BITS, denominator)
    return tf.where(2 * remainder < denominator, remainder, 0), numerator


def _divide(dividend, divisor):
    """Quotient and remainder of whole numbers from 0 on, also where the division has a float32's precision only."""
    quotient = dividend // divisor
    rest = dividend - quotient * divisor
    quotient += tf.cast(rest >= divisor, tf.int32) - tf.cast(rest < 0, tf.int32)
    return quotient, dividend - quotient * divisor
