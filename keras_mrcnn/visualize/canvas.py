"""Draws boxes, masks and contours into uint8 pictures, with lines and letters in proportion to the picture.

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
SMALLEST_LETTERS = 11  # pixels; smaller letters could not be read


class Pen(NamedTuple):
    """The width of lines and the size of letters, both in pixels."""

    line_width: int
    letters: int


def pen_for(image: np.ndarray) -> Pen:
    """Returns the pen for a picture: lines of 1 pixel at 200 x 200, 2 at 640 x 480, 7 at 2000 x 2000."""
    side = math.sqrt(image.shape[0] * image.shape[1])
    return Pen(max(1, round(side / 275)), max(SMALLEST_LETTERS, round(0.024 * side)))


def checked_image(image: np.ndarray, image_size: tuple[int, int] | None = None) -> np.ndarray:
    """Returns a copy of an image as uint8 [H, W, 3].

    Args:
        image: uint8 [H, W] or [H, W, C], with 1, 3 or 4 channels; a fourth channel is dropped.
        image_size: (height, width) that the image must have; by default any.

    Raises:
        ValueError: the image has another dtype, shape or size.
    """
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
    """Draws objects into a copy of an image, small ones on top of large ones and labels on top of all.

    The first objects are labelled first.

    Args:
        image: uint8 [H, W, 3].
        boxes: float [D, 4], xyxy pixels of the image.
        colours: a colour for each object.
        labels: a text for each object, or an empty list for no labels.
        pen: the width of lines and the size of letters.
        patches: masks from `mask_patches`, or None to draw boxes only.
        outlines: whether boxes are drawn.

    Returns:
        uint8 [H, W, 3]; `image` itself is not changed.
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
    """Draws the edges of a box, moved into the image if outside, with a thin dark rim for contrast."""
    width, height = draw.im.size
    x0, y0, x1, y1 = (int(round(value)) for value in box.tolist())
    x0, y0 = min(max(x0, 0), width - 1), min(max(y0, 0), height - 1)
    x1, y1 = max(min(x1, width) - 1, x0), max(min(y1, height) - 1, y0)
    if line_width > 1:
        rim = max(1, line_width // 3)
        draw.rectangle((x0 - rim, y0 - rim, x1 + rim, y1 + rim), outline=(0, 0, 0), width=rim)
    draw.rectangle((x0, y0, x1, y1), outline=colour, width=line_width)


def draw_frame(draw: ImageDraw.ImageDraw, box: np.ndarray, colour: Colour, line_width: int) -> None:
    """Draws the edges of a box without a rim. Edges outside the image are not visible."""
    x0, y0, x1, y1 = (int(round(value)) for value in box.tolist())
    draw.rectangle((x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)), outline=colour, width=line_width)


def _blend_mask(image: np.ndarray, mask_patch: MaskPatch, colour: Colour) -> None:
    """Tints the pixels of a mask in place."""
    y, x, patch = mask_patch
    pixels = image[y : y + patch.shape[0], x : x + patch.shape[1]]
    inside = patch > 0.5
    pixels[inside] = np.round(pixels[inside] * (1 - MASK_OPACITY) + np.array(colour) * MASK_OPACITY).astype(np.uint8)


def _draw_contours(draw: ImageDraw.ImageDraw, mask_patch: MaskPatch, colour: Colour, line_width: int) -> None:
    """Draws the outline of a mask, which is closed along the border of the image too."""
    y, x, patch = mask_patch
    padded = np.pad(patch.astype(np.float32), 1)
    for contour in find_contours(padded, 0.5):
        points = [(x + column - 1, y + row - 1) for row, column in contour.tolist()]
        draw.line(points, fill=colour, width=line_width, joint="curve" if line_width > 2 else None)
