"""Draws detections and annotated objects: masks, contours, boxes and names.

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
    """Draws the masks, contours and boxes of detections, with labels such as "name 0.87" that never overlap.

    Args:
        image: uint8 [H, W] or [H, W, C], with 1, 3 or 4 channels; the original image.
        detections: the detections in the image.
        min_score: detections with lower scores are left out.
        colour_by: "class", or "instance" to tell neighbouring objects of a class apart.
        class_names: all classes in the order of their colours; by default the category ids determine the colours.

    Returns:
        uint8 [H, W, 3], a new picture.

    Raises:
        ValueError: the image is not uint8, or not of the size to which the detections belong.

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
    """Draws annotated objects as `draw_detections` draws detections, with their names as labels.

    Args:
        image: uint8 [H, W] or [H, W, C], with 1, 3 or 4 channels.
        ground_truth: the annotated objects in the image.
        colour_by: "class", or "instance" to tell neighbouring objects of a class apart.
        class_names: all classes in the order of their colours; by default the labels determine the colours.

    Returns:
        uint8 [H, W, 3], a new picture.

    Raises:
        ValueError: the image is not uint8, or not of the size to which the objects belong.
    """
    image = checked_image(image, ground_truth.image_size)
    return paint_ground_truth(image, ground_truth, pen_for(image), colour_by, class_names)


def show_detections(outputs: StageOutputs, min_score: float = 0.5) -> Figure:
    """Shows the final detections with masks, contours and labels.

    Args:
        outputs: outputs of all stages for one image.
        min_score: detections with lower scores are left out.

    Returns:
        `Figure` with one panel.
    """
    panel = PanelImage(outputs.image, columns=1)
    detections = outputs.detections.above(min_score)
    picture = paint_detections(panel.picture, panel.fit(detections), PANEL_PEN, class_names=outputs.class_names)
    return panel_figure([Panel(picture, f"{counted(len(detections), 'detection')} of score {min_score:g} or more")], 1)


def show_ground_truth(outputs: StageOutputs) -> Figure:
    """Shows the annotated objects with masks, contours and names.

    Args:
        outputs: outputs of all stages for one image.

    Returns:
        `Figure` with one panel, which is just the image if there is no ground truth.
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
    """Draws detections into a copy of an image. The best detections are labelled first.

    Args:
        image: uint8 [H, W, 3].
        detections: the detections to draw, in pixels of the image.
        pen: the width of lines and the size of letters.
        colour_by, class_names: as for `draw_detections`.
        masks_alone: whether boxes and labels are left out.

    Returns:
        uint8 [H, W, 3], a new picture.
    """
    kept = detections[np.argsort(-detections.scores, kind="stable")]
    colours = choose_colours(kept.category_ids, kept.class_names, colour_by, class_names)
    labels = [f"{name} {score:.2f}" for name, score in zip(kept.class_names, kept.scores)]
    patches = None if kept.masks is None else list(kept.mask_patches(threshold=None))
    return draw_objects(image, kept.boxes, colours, [] if masks_alone else labels, pen, patches, not masks_alone)


def paint_ground_truth(
    image: np.ndarray, ground_truth: GroundTruth, pen: Pen, colour_by: str, class_names: Sequence[str] | None
) -> np.ndarray:
    """Draws annotated objects into a copy of an image.

    Args:
        image: uint8 [H, W, 3].
        ground_truth: the objects to draw, in pixels of the image.
        pen: the width of lines and the size of letters.
        colour_by, class_names: as for `draw_ground_truth`.

    Returns:
        uint8 [H, W, 3], a new picture.
    """
    colours = choose_colours(ground_truth.labels, ground_truth.class_names, colour_by, class_names)
    patches = None if ground_truth.masks is None else list(ground_truth.mask_patches())
    return draw_objects(image, ground_truth.boxes, colours, ground_truth.class_names, pen, patches)
