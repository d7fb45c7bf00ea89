"""Figures of the RoIs sampled for training the heads, and of their targets."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from keras_mrcnn.visualize.canvas import draw_box, draw_frame, draw_objects
from keras_mrcnn.visualize.figures import Panel, class_legend, counted, panel_figure
from keras_mrcnn.visualize.palette import GREY, class_colour
from keras_mrcnn.visualize.panels import PANEL_PEN, PanelImage
from keras_mrcnn.visualize.stage_outputs import SampledRoIs, StageOutputs

FADED = 0.45


def show_rois(outputs: StageOutputs) -> Figure:
    """Shows the sampled RoIs and, beside them, the boxes of their targets.

    Positive RoIs have the colours of their classes, negative ones are grey. Each target is labelled with its class and
    the number of its RoIs.

    Args:
        outputs: outputs of all stages for one image.

    Returns:
        `Figure` with two panels, or just the image if there is no ground truth.

    Reference: Girshick, Fast R-CNN, 2015, section 2.3.
    """
    if outputs.rois is None:
        picture = PanelImage(outputs.image, columns=1).picture
        return panel_figure([Panel(picture, "No ground truth is given, so no RoIs are sampled")], 1)
    panel = PanelImage(outputs.image, columns=2, faded=FADED)
    rois, positives = outputs.rois, outputs.rois.num_positives
    panels = [
        Panel(_draw_rois(panel, rois), f"RoIs: {positives:,} positive, {len(rois) - positives:,} negative"),
        Panel(
            _draw_targets(panel, outputs), f"Targets of the positives: {counted(_num_targets(rois), 'object')}"
        ),
    ]
    names = [outputs.class_names[label - 1] for label in rois.labels[rois.labels > 0]]
    legend = class_legend(outputs.class_names, names)
    return panel_figure(panels, 2, [*legend, (GREY, "negative: background")])


def _draw_rois(panel: PanelImage, rois: SampledRoIs) -> np.ndarray:
    """Draws the negative RoIs as thin grey lines, then the positive ones on top."""
    picture = Image.fromarray(panel.picture)
    draw = ImageDraw.Draw(picture)
    boxes = panel.fit_boxes(rois.boxes)
    for box in boxes[rois.labels == 0]:
        draw_frame(draw, box, GREY, line_width=1)
    for box, label in zip(boxes[rois.labels > 0], rois.labels[rois.labels > 0]):
        draw_box(draw, box, class_colour(label), PANEL_PEN.line_width)
    return np.array(picture)


def _draw_targets(panel: PanelImage, outputs: StageOutputs) -> np.ndarray:
    """Draws each target once, labelled with the number of its RoIs."""
    rois, positive = outputs.rois, outputs.rois.labels > 0
    _, first, counts = np.unique(rois.matched[positive], return_index=True, return_counts=True)
    labels = rois.labels[positive][first]
    texts = [f"{outputs.class_names[label - 1]} × {count}" for label, count in zip(labels.tolist(), counts.tolist())]
    boxes = panel.fit_boxes(rois.target_boxes[positive][first])
    return draw_objects(panel.picture, boxes, [class_colour(label) for label in labels], texts, PANEL_PEN)


def _num_targets(rois: SampledRoIs) -> int:
    """Returns the number of objects that have a positive RoI."""
    return len(np.unique(rois.matched[rois.labels > 0]))
