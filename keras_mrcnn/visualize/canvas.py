"""Boxes, masks and contours drawn into uint8 pictures; lines and letters grow with the picture.

Shape letters: H W the picture's height and width, D objects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from skimage.measure import find_contours

from keras_mrcnn.base.records import MaskPatch
from keras_mrcnn.visualize.labels import draw_labels
from keras_mrcnn.visualize.palette import Colour

MASK_OPACITY = 0.4
SMALLEST_LETTERS = 11  # pixels; below this, letters cannot be read


class Pen(NamedTuple):
    """Width of lines and size of letters, both in pixels."""

    line_width: int
    letters: int


def pen_for(image: np.ndarray) -> Pen:
    """Returns the pen for a picture: lines of 1 pixel at 200 x 200, 2 at 640 x 480, 7 at 2000 x 2000."""
    side = math.sqrt(image.shape[0] * image.shape[1])
    return Pen(max(1, round(side / 275)), max(SMALLEST_LETTERS, round(0.024 * side)))


def checked_image(image: np.ndarray, image_size: tuple[int, int] | None = None) -> np.ndarray:
    """Returns a copy of the image as uint8 [H, W, 3], or raises ValueError."""
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[2] in (1, 4):  # grey, or RGB with one channel more
        image = image[:, :, 0] if image.shape[2] == 1 else image[:, :, :3]
    grey = image.ndim == 2
    if image.dtype != np.uint8 or not (grey or (image.ndim == 3 and image.shape[2] == 3)) or 0 in image.shape:
        raise ValueError(
            f"The image is {image.dtype} {list(image.shape)}, expected uint8 [H, W, 3] or [H, W]; convert it first."
        )
    if image_size is not None and image.shape[:2] != tuple(image_size):
        raise ValueError(
            f"The image is {image.shape[0]} x {image.shape[1]} pixels, but the objects belong to one of "
            f"{image_size[0]} x {image_size[1]}; draw them into the image that they were found in."
        )
    return np.repeat(image[:, :, None], 3, axis=2) if grey else image.copy()


def draw_objects(
    image: np.ndarray,
    boxes: np.ndarray,
    colours: Sequence[Colour],
    labels: Sequence[str],
    pen: Pen,
    patches: list[MaskPatch] | None = None,
    outlines: bool = True,
) -> np.ndarray:
    """Draws small objects on top of large ones and all labels above; the first objects are labelled first.

    Args:
        image: uint8 [H, W, 3].
        boxes: float [D, 4], xyxy pixels of the image.
        colours: one for each object.
        labels: a text for each object, or none at all.
        pen: lines and letters.
        patches: masks, as `mask_patches` gives them, or None for boxes alone.
        outlines: whether boxes are drawn, and not only masks.

    Returns:
        uint8 [H, W, 3]; `image` stays as it is.
    """
    image = image.copy()
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    order = np.argsort(-sides.prod(axis=1), kind="stable").tolist()
    for number in order if patches is not None else ():
        _blend_mask(image, patches[number], colours[number])
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    for number in order:
        if outlines:
            draw_box(draw, boxes[number], colours[number], pen.line_width)
        if patches is not None:
            _draw_contours(draw, patches[number], colours[number], pen.line_width)
    draw_labels(draw, boxes, colours, labels, pen.letters)
    return np.array(picture)


def draw_box(draw: ImageDraw.ImageDraw, box: np.ndarray, colour: Colour, line_width: int) -> None:
    """Draws the edges of a box inside the image, with a thin dark rim that shows on bright ground."""
    width, height = draw.im.size
    x0, y0, x1, y1 = (int(round(value)) for value in box.tolist())
    x0, y0 = min(max(x0, 0), width - 1), min(max(y0, 0), height - 1)
    x1, y1 = max(min(x1, width) - 1, x0), max(min(y1, height) - 1, y0)
    if line_width > 1:
        rim = max(1, line_width // 3)
        draw.rectangle((x0 - rim, y0 - rim, x1 + rim, y1 + rim), outline=(0, 0, 0), width=rim)
    draw.rectangle((x0, y0, x1, y1), outline=colour, width=line_width)


def draw_frame(draw: ImageDraw.ImageDraw, box: np.ndarray, colour: Colour, line_width: int) -> None:
    """Draws the edges of a box that may reach outside: what lies there is not seen, and there is no rim."""
    x0, y0, x1, y1 = (int(round(value)) for value in box.tolist())
    draw.rectangle((x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)), outline=colour, width=line_width)


def _blend_mask(image: np.ndarray, mask_window: MaskPatch, colour: Colour) -> None:
    """Tints the pixels of a mask in place."""
    y, x, patch = mask_window
    pixels = image[y : y + patch.shape[0], x : x + patch.shape[1]]
    inside = patch > 0.5
    pixels[inside] = np.round(pixels[inside] * (1 - MASK_OPACITY) + np.array(colour) * MASK_OPACITY).astype(np.uint8)


def _draw_contours(draw: ImageDraw.ImageDraw, mask_window: MaskPatch, colour: Colour, line_width: int) -> None:
    """Draws the outline of a mask, closed along the image's border too."""
    y, x, patch = mask_window
    padded = np.pad(patch.astype(np.float32), 1)
    for contour in find_contours(padded, 0.5):
        points = [(x + column - 1, y + row - 1) for row, column in contour.tolist()]
        draw.line(points, fill=colour, width=line_width, joint="curve" if line_width > 2 else None)
