"""Figures of the RPN's proposals, before and after NMS.

Shape letters: H W the image's height and width, P proposals.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from keras_mrcnn.visualize.canvas import checked_image, draw_box, pen_for
from keras_mrcnn.visualize.figures import ColourBar, Panel, counted, panel_figure
from keras_mrcnn.visualize.palette import SCORE_COLOURS, Colour, score_colours
from keras_mrcnn.visualize.panels import PANEL_PEN, PanelImage
from keras_mrcnn.visualize.stage_outputs import ScoredBoxes, StageOutputs


def draw_proposals(image: np.ndarray, boxes: np.ndarray, scores: np.ndarray | None = None, top: int = 20) -> np.ndarray:
    """Draws the best proposals as boxes, from yellow for the best to dark blue. The best are on top.

    Args:
        image: uint8 [H, W] or [H, W, C], with 1, 3 or 4 channels.
        boxes: float [P, 4], xyxy pixels of this image.
        scores: float [P]; by default the boxes must be sorted, best first.
        top: how many proposals to draw.

    Returns:
        uint8 [H, W, 3], a new picture.

    Raises:
        ValueError: the image is not uint8, or there are not as many scores as boxes.
    """
    image = checked_image(image)
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    scores = -np.arange(len(boxes)) if scores is None else np.asarray(scores)
    if scores.shape != (len(boxes),):
        raise ValueError(f"scores have shape {list(scores.shape)} for {len(boxes)} boxes; give one score a box.")
    best = np.argsort(-scores, kind="stable")[:top]
    return paint_ranked(image, boxes[best], pen_for(image).line_width)


def show_proposals(outputs: StageOutputs, top: int = 20) -> Figure:
    """Shows the best proposals before and after NMS side by side, coloured by score. The best are on top.

    Args:
        outputs: outputs of all stages for one image.
        top: how many boxes each panel shows; the titles give their total numbers.

    Returns:
        `Figure` with two panels and a colour bar from the lowest to the highest score shown.

    Reference: Ren et al., Faster R-CNN, 2015, section 3.3.
    """
    panel = PanelImage(outputs.image, columns=2)
    drawn = np.concatenate([outputs.candidates.scores[:top], outputs.proposals.scores[:top]])
    lowest, highest = (float(drawn.min()), float(drawn.max())) if len(drawn) else (0.0, 1.0)
    panels = []
    for when, proposals in (("Before", outputs.candidates), ("After", outputs.proposals)):
        colours = score_colours(proposals.scores[:top], lowest, highest)
        picture = paint_boxes(panel.picture, panel.fit_boxes(proposals.boxes[:top]), colours, PANEL_PEN.line_width)
        panels.append(Panel(picture, f"{when} NMS: {best_of(proposals, top)}"))
    return panel_figure(panels, 2, bar=ColourBar(SCORE_COLOURS, lowest, highest, "objectness"))


def best_of(proposals: ScoredBoxes, top: int) -> str:
    """Returns a text such as "the 20 best of 1,000 proposals", or just "15 proposals" if all are drawn."""
    every = counted(len(proposals), "proposal")
    return f"the {top:,} best of {every}" if len(proposals) > top else every


def paint_ranked(image: np.ndarray, boxes: np.ndarray, line_width: int) -> np.ndarray:
    """Draws boxes float [P, 4], sorted best first, into a copy of an image, coloured by rank."""
    return paint_boxes(image, boxes, score_colours(-np.arange(len(boxes)), 1 - max(len(boxes), 2), 0), line_width)


def paint_boxes(image: np.ndarray, boxes: np.ndarray, colours: list[Colour], line_width: int) -> np.ndarray:
    """Draws boxes float [P, 4] into a copy of an image, the first ones on top."""
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    for box, colour in zip(boxes[::-1], colours[::-1]):
        draw_box(draw, box, colour, line_width)
    return np.array(picture)
