"""Draws small labels in pictures. Labels are moved or shortened to fit into the picture and never overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import ImageDraw, ImageFont

from keras_mrcnn.visualize.palette import Colour

Rectangle = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom are exclusive


@lru_cache(maxsize=16)
def load_font(size: int) -> ImageFont.FreeTypeFont:
    """Returns the font DejaVu Sans of matplotlib with letters of `size` pixels."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)


def draw_labels(
    draw: ImageDraw.ImageDraw, boxes: np.ndarray, colours: Sequence[Colour], labels: Sequence[str], letters: int
) -> None:
    """Labels boxes, the first ones first. Labels for which there is no room are left out.

    Args:
        draw: Pillow's drawing object of the picture.
        boxes: float [D, 4], xyxy pixels of the picture.
        colours: D background colours.
        labels: D texts.
        letters: size of the letters in pixels.
    """
    font, image_size, taken = load_font(letters), draw.im.size, []
    for box, colour, label in zip(boxes, colours, labels):
        text = shorten(label, font, image_size[0] - 2 * margin(font))
        place = place_label(box, label_size(text, font), image_size, taken)
        if place is not None:
            taken.append(place)
            _draw_label(draw, place, colour, text, font)


def _draw_label(
    draw: ImageDraw.ImageDraw, place: Rectangle, colour: Colour, text: str, font: ImageFont.FreeTypeFont
) -> None:
    """Draws a label into its rectangle, in black or white, whichever has more contrast."""
    left, top, right, bottom = place
    draw.rectangle((left, top, right - 1, bottom - 1), fill=colour)
    red, green, blue = colour
    ink = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else "white"
    draw.text((left + margin(font), top), text, fill=ink, font=font)


def margin(font: ImageFont.FreeTypeFont) -> int:
    """Returns the margin on either side of a label's text in pixels."""
    return max(1, font.size // 6)


def label_size(text: str, font: ImageFont.FreeTypeFont) -> tuple[int, int]:
    """Returns the width and height of a label in pixels. The height is the same for all texts."""
    return math.ceil(font.getlength(text)) + 2 * margin(font), sum(font.getmetrics())


def place_label(
    box: np.ndarray, size: tuple[int, int], image_size: tuple[int, int], taken: Sequence[Rectangle]
) -> Rectangle | None:
    """Returns a rectangle for a label: above the box, else inside (if the box is large), below or beside it.

    Args:
        box: float [4], xyxy pixels.
        size: width and height of the label.
        image_size: width and height of the picture.
        taken: rectangles of other labels.

    Returns:
        A rectangle inside the picture that overlaps none of `taken`, or None if there is no room.
    """
    (label_width, label_height), (width, height) = size, image_size
    if label_width > width or label_height > height:
        return None
    x0, y0, x1, y1 = (int(round(value)) for value in box.tolist())
    within = [y1, y0] if y1 - y0 < 2 * label_height else [y0, y1]  # inside a small box, a label would hide the object
    heights = [y0 - label_height, *within, y1 - label_height, y0 - 2 * label_height, y1 + label_height]
    wishes = [(x, y) for x in (x0, x1 - label_width) for y in heights]
    wishes += [(x, y) for x in (x1, x0 - label_width) for y in (y0, y1 - label_height)]
    wishes += [(x, y) for y in range(y0 + label_height, y1 - label_height, label_height) for x in (x0, x1)]
    places = [(max(min(x, width - label_width), 0), max(min(y, height - label_height), 0)) for x, y in wishes]
    # Places that had to be moved into the image come last, for they may be far from the box's corners.
    places = [place for _, place in sorted(zip(wishes, places), key=lambda pair: pair[0] != pair[1])]
    rectangles = [(x, y, x + label_width, y + label_height) for x, y in places]
    return next((place for place in rectangles if not any(_overlap(place, other) for other in taken)), None)


def _overlap(one: Rectangle, other: Rectangle) -> bool:
    """Returns whether two rectangles share a pixel."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def shorten(label: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Returns the label with its name cut, if necessary, so that name and score fit into `width` pixels."""
    label = "".join(letter if letter.isprintable() else "?" for letter in label)  # Pillow cannot draw the others
    name, space, score = label.rpartition(" ")
    if not score.replace(".", "", 1).isdigit():
        name, space, score = label, "", ""
    length = len(name)
    while length and font.getlength(label) > width:
        length -= 1
        label = f"{name[:length].rstrip()}…{space}{score}" if length else score
    return label
