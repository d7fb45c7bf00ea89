"""Draws suspects: the part of the image around each, with what is annotated and what was detected.

Shape letters: H W the height and width of the image, h w those of the picture, P boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from keras_mrcnn.base.records import MaskPatch
from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.data.records import clipped_box
from keras_mrcnn.suspects.ranking import Suspect
from keras_mrcnn.visualize.canvas import Pen, checked_image, draw_objects
from keras_mrcnn.visualize.labels import load_font, shorten
from keras_mrcnn.visualize.palette import GREY, PALETTE
from keras_mrcnn.visualize.sheet import contact_sheet

ANNOTATED, DETECTED = PALETTE[0], PALETTE[1]  # orange and blue; other annotations are grey
SIDE = 360  # pixels of the longer side of a picture
CAPTION = 22  # pixels of the line below it
LEAST_PART = 80  # pixels of the image that are visible, at least
MARGIN = 0.4  # around the objects, of their longer side
PEN = Pen(line_width=2, letters=14)


class View(NamedTuple):
    """A part of an image, in its pixels, and the factor by which it is enlarged."""

    left: int
    top: int
    right: int
    bottom: int
    scale: float

    @property
    def size(self) -> tuple[int, int]:
        """Returns the width and height of the picture."""
        sides = self.right - self.left, self.bottom - self.top
        return max(round(sides[0] * self.scale), 1), max(round(sides[1] * self.scale), 1)

    def cut(self, pixels: np.ndarray, resample: Image.Resampling) -> np.ndarray:
        """Returns the part of an image or mask [H, W, ...] as a picture [h, w, ...]."""
        part = Image.fromarray(pixels[self.top : self.bottom, self.left : self.right])
        return np.asarray(part.resize(self.size, resample))

    def fit(self, boxes: np.ndarray) -> np.ndarray:
        """Returns boxes float [P, 4], xyxy pixels of the image, in pixels of the picture, without those outside it."""
        moved = (boxes - [self.left, self.top, self.left, self.top]) * self.scale
        return moved[(moved[:, :2] < self.size).all(axis=1) & (moved[:, 2:] > 0).all(axis=1)]


def suspect_sheet(dataset: CocoDataset, suspects: Sequence[Suspect], columns: int = 4) -> np.ndarray:
    """Draws suspects side by side, each above a line with its rank, its score and its image; see `draw_suspect`.

    Args:
        dataset: the data set that they are of.
        suspects: at least one, in their order.
        columns: number of pictures in a row.

    Returns:
        uint8 [H, W, 3].
    """
    pictures = []
    for rank, suspect in enumerate(suspects, start=1):
        caption = f"{rank}:  {dataset.file_name(suspect.image_id)} {suspect.score:.2f}"
        pictures.append(_with_caption(draw_suspect(dataset, suspect), caption))
    return contact_sheet(pictures, columns, (SIDE + CAPTION, SIDE))


def draw_suspect(dataset: CocoDataset, suspect: Suspect) -> np.ndarray:
    """Draws the annotation in orange, the detection in blue, and the boxes of other annotations in grey.

    Args:
        dataset: the data set that it is of.
        suspect: what to draw.

    Returns:
        uint8 [h, w, 3], the part of the image around it; the longer side is `SIDE`.
    """
    image = checked_image(dataset.load_image(suspect.image_id))
    items, colours, labels = [], [], []
    for item, colour, word in ((suspect.annotation, ANNOTATED, "annotated"), (suspect.detection, DETECTED, "detected")):
        if item is not None:
            name = dataset.coco.cats[item["category_id"]]["name"]
            items.append(item)
            colours.append(colour)
            labels.append(f"{word}: {name}" + (f" {item['score']:.2f}" if word == "detected" else ""))
    boxes = _boxes(items, image)
    view = _view(boxes, image)
    others = [item for item in dataset.coco.imgToAnns[suspect.image_id] if item is not suspect.annotation]
    boxes_of_others = view.fit(_boxes(others, image))
    picture = view.cut(image, Image.Resampling.BICUBIC)
    picture = draw_objects(picture, boxes_of_others, [GREY] * len(boxes_of_others), [], PEN)
    masks = [_mask(dataset, suspect.image_id, item, view) for item in items]
    return draw_objects(picture, view.fit(boxes), colours, labels, PEN, masks)


def _boxes(items: Sequence[dict], image: np.ndarray) -> np.ndarray:
    """Returns the boxes of annotations or results, float [P, 4], xyxy pixels of the image."""
    return np.array([clipped_box(item["bbox"], *image.shape[:2]) for item in items], float).reshape(-1, 4)


def _view(boxes: np.ndarray, image: np.ndarray) -> View:
    """Returns the part of the image around all boxes."""
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    longer = (high - low).max()
    half = max(longer * (0.5 + MARGIN), LEAST_PART / 2)
    middle, limits = (low + high) / 2, np.array(image.shape[1::-1])
    left, top = np.floor((middle - half).clip(0, limits - 1)).astype(int).tolist()
    right, bottom = np.ceil((middle + half).clip(1, limits)).astype(int).tolist()
    return View(left, top, right, bottom, SIDE / max(right - left, bottom - top))


def _mask(dataset: CocoDataset, image_id: int, item: dict, view: View) -> MaskPatch:
    """Returns the mask of an annotation or result in the picture; an empty one if it has none."""
    if not item.get("segmentation"):
        return 0, 0, np.zeros((0, 0), bool)
    mask = dataset.coco.annToMask({**item, "image_id": image_id})
    return 0, 0, view.cut(mask, Image.Resampling.NEAREST) > 0


def _with_caption(picture: np.ndarray, text: str) -> np.ndarray:
    """Returns a picture on white, as wide and high as all others, with a line of text below it."""
    height, width = picture.shape[:2]
    framed = Image.new("RGB", (SIDE, SIDE + CAPTION), "white")
    framed.paste(Image.fromarray(picture), ((SIDE - width) // 2, SIDE - height))
    font = load_font(14)
    ImageDraw.Draw(framed).text((4, SIDE + 2), shorten(text, font, SIDE - 8), fill="black", font=font)
    return np.asarray(framed)
