"""Objects, annotated or found: masks, contours, boxes and names.

Shape letters: H W the image's height and width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from keras_mrcnn.base.records import Detections, GroundTruth
from keras_mrcnn.visualize.canvas import Pen, checked_image, draw_objects, pen_for
from keras_mrcnn.visualize.figures import Panel, counted, panel_figure
from keras_mrcnn.visualize.palette import choose_colours
from keras_mrcnn.visualize.panels import PANEL_PEN, PanelImage
from keras_mrcnn.visualize.stage_outputs import StageOutputs


def draw_detections(
    image: np.ndarray,
    detections: Detections,
    min_score: float = 0.5,
    colour_by: str = "class",
    class_names: Sequence[str] | None = None,
) -> np.ndarray:
    """Draws masks, contours, boxes and labels like "name 0.87"; labels never lie one over another.

    Args:
        image: uint8 [H, W, 3] or [H, W], the original image.
        detections: what was found in it.
        min_score: detections below this are left out.
        colour_by: "class", or "instance" to tell neighbours of one class apart.
        class_names: all classes in order, to give each its colour; by default the category ids decide.

    Returns:
        uint8 [H, W, 3], a new picture.

    Raises:
        ValueError: the image is not uint8, or not of the size that the detections belong to.

    Example:
        >>> picture = draw_detections(np.zeros((60, 80, 3), np.uint8), Detections.empty((60, 80)))
        >>> picture.shape
        (60, 80, 3)
    """
    image = checked_image(image, detections.image_size)
    return paint_detections(image, detections.above(min_score), pen_for(image), colour_by, class_names)


def draw_ground_truth(
    image: np.ndarray,
    ground_truth: GroundTruth,
    colour_by: str = "class",
    class_names: Sequence[str] | None = None,
) -> np.ndarray:
    """Draws the annotated objects as `draw_detections` draws what was found, labelled with their names.

    Args:
        image: uint8 [H, W, 3] or [H, W].
        ground_truth: its objects.
        colour_by: "class" or "instance".
        class_names: all classes in order, to give each its colour; by default the labels decide.

    Returns:
        uint8 [H, W, 3], a new picture.

    Raises:
        ValueError: the image is not uint8, or not of the size that the objects belong to.
    """
    image = checked_image(image, ground_truth.image_size)
    return paint_ground_truth(image, ground_truth, pen_for(image), colour_by, class_names)


def show_detections(outputs: StageOutputs, min_score: float = 0.5) -> Figure:
    """Shows the final detections with masks, contours and labels.

    Args:
        outputs: of one image.
        min_score: detections below this are left out.

    Returns:
        `Figure` with one panel.
    """
    panel = PanelImage(outputs.image, columns=1)
    found = outputs.detections.above(min_score)
    picture = paint_detections(panel.picture, panel.fit(found), PANEL_PEN, class_names=outputs.class_names)
    return panel_figure([Panel(picture, f"{counted(len(found), 'detection')} of score {min_score:g} or more")], 1)


def show_ground_truth(outputs: StageOutputs) -> Figure:
    """Shows the annotated objects with masks, contours and names.

    Args:
        outputs: of one image.

    Returns:
        `Figure` with one panel, which is the bare image where no ground truth is given.
    """
    panel = PanelImage(outputs.image, columns=1)
    if outputs.ground_truth is None:
        return panel_figure([Panel(panel.picture, "No ground truth is given")], 1)
    picture = paint_ground_truth(
        panel.picture, panel.fit(outputs.ground_truth), PANEL_PEN, "class", outputs.class_names
    )
    return panel_figure([Panel(picture, f"Ground truth: {counted(len(outputs.ground_truth), 'object')}")], 1)


def paint_detections(
    image: np.ndarray,
    detections: Detections,
    pen: Pen,
    colour_by: str = "class",
    class_names: Sequence[str] | None = None,
    masks_alone: bool = False,
) -> np.ndarray:
    """Draws detections with a pen into a copy of the image; best first where labels want one place.

    With `masks_alone` there are neither boxes nor labels.
    """
    kept = detections[np.argsort(-detections.scores, kind="stable")]
    colours = choose_colours(kept.category_ids, kept.class_names, colour_by, class_names)
    labels = [f"{name} {score:.2f}" for name, score in zip(kept.class_names, kept.scores)]
    patches = None if kept.masks is None else list(kept.mask_patches(threshold=None))
    return draw_objects(image, kept.boxes, colours, [] if masks_alone else labels, pen, patches, not masks_alone)


def paint_ground_truth(
    image: np.ndarray, ground_truth: GroundTruth, pen: Pen, colour_by: str, class_names: Sequence[str] | None
) -> np.ndarray:
    """Draws annotated objects with a pen into a copy of the image."""
    colours = choose_colours(ground_truth.labels, ground_truth.class_names, colour_by, class_names)
    patches = None if ground_truth.masks is None else list(ground_truth.mask_patches())
    return draw_objects(image, ground_truth.boxes, colours, ground_truth.class_names, pen, patches)
