"""Figures of the box head's results, before and after NMS.

Shape letters: R proposals, K classes, P boxes.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from matplotlib.figure import Figure

from keras_mrcnn.visualize.canvas import draw_objects
from keras_mrcnn.visualize.figures import Panel, class_legend, counted, panel_figure
from keras_mrcnn.visualize.objects import paint_detections
from keras_mrcnn.visualize.palette import class_colour
from keras_mrcnn.visualize.panels import PANEL_PEN, PanelImage
from keras_mrcnn.visualize.stage_outputs import StageOutputs


def show_boxes(outputs: StageOutputs, top: int = 20, min_score: float = 0.3) -> Figure:
    """Shows the best boxes of the box head before NMS and the final ones, with their scores.

    Before NMS, each proposal has a box for every class. Boxes have the colours of their classes. Scores that do not fit
    into the picture are left out.

    Args:
        outputs: outputs of all stages for one image.
        top: how many boxes are drawn before NMS; the title gives their total number.
        min_score: boxes with lower scores are left out, before and after NMS.

    Returns:
        `Figure` with two panels.

    Reference: Girshick, Fast R-CNN, 2015, section 2.
    """
    panel = PanelImage(outputs.image, columns=2)
    boxes, scores, labels = best_class_boxes(outputs.class_boxes, outputs.class_scores, min_score)
    drawn = slice(top)
    colours = [class_colour(label) for label in labels[drawn]]
    texts = [f"{score:.2f}" for score in scores[drawn]]
    before = draw_objects(panel.picture, panel.fit_boxes(boxes[drawn]), colours, texts, PANEL_PEN)
    final = outputs.detections.above(min_score)
    bare = dataclasses.replace(panel.fit(final), masks=None)
    after = paint_detections(panel.picture, bare, PANEL_PEN, class_names=outputs.class_names)
    every = "1 box" if len(boxes) == 1 else f"{len(boxes):,} boxes"
    count_text = f"the {top:,} best of {every}" if len(boxes) > top else every
    panels = [
        Panel(before, f"Before NMS: {count_text} of score {min_score:g} or more"),
        Panel(after, f"After NMS: {counted(len(final), 'detection')}"),
    ]
    drawn_names = [*final.class_names, *(outputs.class_names[label - 1] for label in labels[drawn])]
    return panel_figure(panels, 2, class_legend(outputs.class_names, drawn_names))


def best_class_boxes(
    class_boxes: np.ndarray, class_scores: np.ndarray, min_score: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the boxes of all classes that score at least `min_score`, best first.

    Args:
        class_boxes: float [R, K, 4].
        class_scores: float [R, K].
        min_score: lowest score, 0 to 1.

    Returns:
        boxes float [P, 4], scores float [P], labels int [P], 1..K.
    """
    rows, columns = np.nonzero(class_scores >= min_score)
    order = np.argsort(-class_scores[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    return class_boxes[rows, columns], class_scores[rows, columns], columns + 1
