"""Figures of all three stages of the model."""

from __future__ import annotations

import dataclasses

from matplotlib.figure import Figure

from keras_mrcnn.visualize.figures import Panel, class_legend, counted, panel_figure
from keras_mrcnn.visualize.objects import paint_detections
from keras_mrcnn.visualize.panels import PANEL_PEN, PanelImage
from keras_mrcnn.visualize.proposals import best_of, paint_ranked
from keras_mrcnn.visualize.stage_outputs import StageOutputs


def stage_panels(outputs: StageOutputs, top: int = 20, min_score: float = 0.5) -> Figure:
    """Shows the best proposals of the RPN, the detections of the box head, and the masks of the mask head.

    Args:
        outputs: outputs of all stages for one image.
        top: how many proposals are drawn.
        min_score: detections with lower scores are left out.

    Returns:
        `Figure` with three panels.

    Reference: He et al., Mask R-CNN, 2017, figure 1.
    """
    panel = PanelImage(outputs.image, columns=3)
    proposals = paint_ranked(panel.picture, panel.fit_boxes(outputs.proposals.boxes[:top]), PANEL_PEN.line_width)
    detections = panel.fit(outputs.detections.above(min_score))
    names = outputs.class_names
    boxes = paint_detections(panel.picture, dataclasses.replace(detections, masks=None), PANEL_PEN, class_names=names)
    masks = paint_detections(panel.picture, detections, PANEL_PEN, class_names=names, masks_alone=True)
    panels = [
        Panel(proposals, f"RPN: {best_of(outputs.proposals, top)}; best in yellow"),
        Panel(boxes, f"Box head: {counted(len(detections), 'detection')}"),
        Panel(masks, "Mask head: their masks"),
    ]
    return panel_figure(panels, 3, class_legend(names, detections.class_names))
