"""Figures of the anchors and their labels, which are the targets of the RPN."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from keras_mrcnn.visualize.canvas import draw_box, draw_frame
from keras_mrcnn.visualize.figures import Panel, panel_figure
from keras_mrcnn.visualize.palette import GREY, PALETTE, WHITE, Colour
from keras_mrcnn.visualize.panels import PANEL_PEN, PanelImage
from keras_mrcnn.visualize.stage_outputs import AnchorLevel, StageOutputs

POSITIVE, IGNORED, NEGATIVE = PALETTE[0], PALETTE[1], GREY
FADED = 0.55
DRAWN_NEGATIVES, DRAWN_IGNORED = 24, 300


def show_anchors(outputs: StageOutputs) -> Figure:
    """Shows the anchors of each level with their labels: all positive ones and some of the others.

    The titles give the size of the anchors (the square root of their mean area, in pixels of the image) and all counts.
    Without ground truth, some unlabelled anchors are drawn.

    Args:
        outputs: outputs of all stages for one image.

    Returns:
        `Figure` with a panel for each level.

    Reference: Ren et al., Faster R-CNN, 2015, section 3.1.
    """
    panel = PanelImage(outputs.image, columns=3, faded=FADED)
    objects = np.zeros((0, 4)) if outputs.ground_truth is None else outputs.ground_truth.boxes
    panels = [_level_panel(panel, level, objects) for level in outputs.levels]
    if outputs.ground_truth is None:
        return panel_figure(panels, 3, [(NEGATIVE, f"anchors (at most {DRAWN_NEGATIVES} drawn)")])
    positive, ignored = (POSITIVE, "positive (all drawn)"), (IGNORED, f"ignored (at most {DRAWN_IGNORED} drawn)")
    negative, truth = (NEGATIVE, f"negative (at most {DRAWN_NEGATIVES} drawn)"), (WHITE, "ground truth")
    return panel_figure(panels, 3, [positive, ignored, negative, truth])


def _level_panel(panel: PanelImage, level: AnchorLevel, objects: np.ndarray) -> Panel:
    """Draws the anchors of one level, the positive ones on top."""
    boxes = panel.fit_boxes(level.boxes)
    picture = Image.fromarray(panel.picture)
    draw = ImageDraw.Draw(picture)
    corners = level.boxes.reshape(-1, 4)
    side = np.sqrt(np.prod(corners[:, 2:] - corners[:, :2], axis=1).mean()) if len(corners) else 0.0
    title = f"{level.name}, anchors of {side:.0f} px:\n"
    if level.labels is None:
        _draw_frames(draw, boxes, DRAWN_NEGATIVES, NEGATIVE, line_width=1)
        return Panel(np.array(picture), title + f"{len(boxes):,} of them")
    labels = level.labels.reshape(-1)
    _draw_frames(draw, boxes[labels == 0], DRAWN_NEGATIVES, NEGATIVE, line_width=1)
    _draw_frames(draw, boxes[labels < 0], DRAWN_IGNORED, IGNORED, line_width=1)
    for box in panel.fit_boxes(objects):
        draw_box(draw, box, WHITE, PANEL_PEN.line_width)
    _draw_frames(draw, boxes[labels > 0], None, POSITIVE, PANEL_PEN.line_width)
    positive, ignored, negative = (int((np.sign(labels) == sign).sum()) for sign in (1, -1, 0))
    return Panel(np.array(picture), title + f"{positive:,} positive, {ignored:,} ignored, {negative:,} negative")


def _draw_frames(
    draw: ImageDraw.ImageDraw, boxes: np.ndarray, most: int | None, colour: Colour, line_width: int
) -> None:
    """Draws at most `most` anchors. Of more than that, it draws a random selection, which is the same every time."""
    if most is not None and len(boxes) > most:
        boxes = boxes[np.random.default_rng(0).choice(len(boxes), most, replace=False)]
    for box in boxes:
        draw_frame(draw, box, colour, line_width)
