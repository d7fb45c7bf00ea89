"""The pictures of a figure's panels: the image at the size at which it is shown, and what is drawn into it.

Lines and letters then have one size, whether the image has 300 pixels or 4000.

Shape letters: H W of the panel's picture, P boxes.
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
    """An image fitted into a panel.

    Args:
        image: uint8 [h, w, 3] or [h, w].
        columns: how many panels share a row, 1 to 3.
        faded: how much of the image gives way to dark grey, so that thin lines stand out: 0 to 1.

    Attributes:
        picture: uint8 [H, W, 3].
    """

    def __init__(self, image: np.ndarray, columns: int, faded: float = 0.0):
        image = checked_image(image)
        height, width = image.shape[:2]
        widest = WIDTHS[columns] * RASTER_DPI
        scale = min(widest / width, 1.2 * widest / height)
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        picture = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
        self.picture = np.round(picture * (1 - faded) + 40 * faded).astype(np.uint8)
        self._ratio = np.float32([size[0] / width, size[1] / height] * 2)

    def fit_boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Moves boxes float [P, 4], xyxy pixels of the image, to where they are in the picture."""
        return np.asarray(boxes, np.float32).reshape(-1, 4) * self._ratio

    def fit(self, objects: Detections | GroundTruth) -> Detections | GroundTruth:
        """Moves detections or ground truths to where they are in the picture; masks go along with their boxes."""
        size = self.picture.shape[:2]
        return dataclasses.replace(objects, boxes=self.fit_boxes(objects.boxes), image_size=size)
