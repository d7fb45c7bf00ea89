"""Contact sheets: many pictures in one."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from PIL import Image

from keras_mrcnn.visualize.canvas import checked_image


def contact_sheet(images: Iterable[np.ndarray], columns: int, cell_size: tuple[int, int] | None = None) -> np.ndarray:
    """Arranges pictures of any sizes in rows on white. Each is shrunk, if necessary, to fit its cell, and centred.

    Args:
        images: one or more images, uint8 [H, W] or [H, W, C], with 1, 3 or 4 channels.
        columns: number of pictures in a row.
        cell_size: (height, width) in pixels; by default the largest height and width of the images, but at most 640.

    Returns:
        uint8 [H, W, 3], the sheet.

    Raises:
        ValueError: there are no images, or `columns` is below 1.
    """
    pictures = [Image.fromarray(checked_image(image)) for image in images]
    if not pictures or columns < 1:
        raise ValueError(f"A contact sheet of {len(pictures)} images in {columns} columns cannot be; give 1 or more.")
    if cell_size is None:
        cell_size = tuple(min(640, max(picture.size[axis] for picture in pictures)) for axis in (1, 0))
    height, width = cell_size
    gap = max(4, width // 60)
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), "white")
    for number, picture in enumerate(pictures):
        picture.thumbnail((width, height))  # never enlarges
        row, column = divmod(number, columns)
        x = gap + column * (width + gap) + (width - picture.width) // 2
        y = gap + row * (height + gap) + (height - picture.height) // 2
        sheet.paste(picture, (x, y))
    return np.array(sheet)
