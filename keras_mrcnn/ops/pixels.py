"""Mean and standard deviation of ImageNet's pixels, by which networks expect their input to be normalised.

Shapes: C channels: 1 grey, 3 RGB, 4 RGB and one more, such as transparency, depth or infrared.
"""

from __future__ import annotations

# Of values between 0 and 1, for RGB.
PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)
# Averages over the colours, for a channel that is not a colour.
GREY_MEAN, GREY_STD = 0.449, 0.226


def pixel_statistics(channels: int = 3) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns the mean and deviation that normalise pictures: (value / 255 - mean) / deviation.

    Args:
        channels: 1, 3 or 4.

    Returns:
        Mean and standard deviation of each channel, for values between 0 and 1.

    Example:
        >>> pixel_statistics(1)
        ((0.449,), (0.226,))
    """
    if channels == 1:
        return (GREY_MEAN,), (GREY_STD,)
    extra = channels - 3
    return (*PIXEL_MEAN, *[GREY_MEAN] * extra), (*PIXEL_STD, *[GREY_STD] * extra)
