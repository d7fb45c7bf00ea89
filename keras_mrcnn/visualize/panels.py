"""Fits images into the panels of a figure, along with the boxes and objects to be drawn into them.

Lines and letters then have the same size in all figures, whether the image is 300 or 4000 pixels wide.

Shape letters: H W the height and width of the panel's picture, P boxes.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image

from keras_mrcnn.base.records import Detections, GroundTruth
from keras_mrcnn.visualize.canvas import Pen, checked_image
from keras_mrcnn.visualize.figures import RASTER_DPI

PANEL_PEN = Pen(line_width=4, letters=24)  # 1.4 and 8.6 points
WIDTHS = {1: 6.0, 2: 4.6, 3: 3.4}  # inches, by the number of columns


class PanelImage:
    """An image resized to fit into a panel.

    Args:
        image: uint8 [h, w] or [h, w, C], with 1, 3 or 4 channels.
        columns: number of panels in a row, 1 to 3.
        faded: share of dark grey mixed into the image, 0 to 1, to make thin lines stand out.

    Attributes:
        picture: uint8 [H, W, 3], the resized image.
    """

    def __init__(self, image: np.ndarray, columns: int, faded: float = 0.0) -> None:
        image = checked_image(image)
        height, width = image.shape[:2]
        widest = WIDTHS[columns] * RASTER_DPI
        scale = min(widest / width, 1.2 * widest / height)
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        picture = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
        self.picture = np.round(picture * (1 - faded) + 40 * faded).astype(np.uint8)
        self._ratio = np.float32([size[0] / width, size[1] / height] * 2)

    def fit_boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Returns boxes float [P, 4], xyxy pixels of the image, in pixels of the picture."""
        return np.asarray(boxes, np.float32).reshape(-1, 4) * self._ratio

    def fit(self, objects: Detections | GroundTruth) -> Detections | GroundTruth:
        """Returns detections or ground truths in pixels of the picture. Masks scale with their boxes."""
        size = self.picture.shape[:2]
        return dataclasses.replace(objects, boxes=self.fit_boxes(objects.boxes), image_size=size)
