"""Figures of mask targets and predicted masks, next to the image crops of their RoIs.

Shape letters: h w the height and width of a crop's picture, M mask side.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from keras_mrcnn.base.iou import box_iou
from keras_mrcnn.visualize.figures import RASTER_DPI, ColourBar, Panel, panel_figure
from keras_mrcnn.visualize.palette import SCORE_COLOURS
from keras_mrcnn.visualize.panels import PanelImage
from keras_mrcnn.visualize.stage_outputs import SampledRoIs, StageOutputs

CROP_SIDE, GAP = round(1.3 * RASTER_DPI), 12  # pixels


def show_masks(outputs: StageOutputs, top: int = 8) -> Figure:
    """Shows crops of positive RoIs: the image, the target, the predicted mask of the true class, and their IoU.

    The best RoI of each object comes first, then the second best of each, until there are `top` RoIs.

    Args:
        outputs: outputs of all stages for one image.
        top: the largest number of RoIs.

    Returns:
        `Figure` with a panel for each RoI and a colour bar, or just the image if there is nothing to compare.

    Reference: He et al., Mask R-CNN, 2017, section 3.
    """
    if outputs.masks is None or not len(outputs.masks):
        missing = "no positive RoI" if outputs.masks is not None else "no ground truth with masks"
        return panel_figure([Panel(PanelImage(outputs.image, columns=1).picture, f"There is {missing} to compare")], 1)
    ious, panels = outputs.masks.ious, []
    for number in choose_rois(outputs.rois, top):
        box, name = outputs.rois.boxes[number], outputs.class_names[outputs.rois.labels[number] - 1]
        crops = [_crop(outputs.image, box)]
        for cells in (outputs.masks.targets[number], outputs.masks.probabilities[number]):
            crops.append(_picture_of(cells, crops[0].shape[:2]))
        panels.append(Panel(_side_by_side(crops), f"{name}: image, target, mask; IoU {ious[number]:.2f}"))
    return panel_figure(panels, 2, bar=ColourBar(SCORE_COLOURS, 0.0, 1.0, "mask"))


def choose_rois(rois: SampledRoIs, top: int) -> list[int]:
    """Returns the positions of at most `top` positive RoIs, the best of each object before the second best of any."""
    positives = np.flatnonzero(rois.labels > 0)
    ious = box_iou(rois.boxes[positives], rois.target_boxes[positives]).diagonal()
    turns: dict[int, int] = {}
    ranked = []
    for place in np.argsort(-ious, kind="stable").tolist():
        target = int(rois.matched[positives[place]])
        turns[target] = turns.get(target, 0) + 1
        ranked.append((turns[target], target, int(positives[place])))
    return [number for _, _, number in sorted(ranked)[:top]]


def _crop(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Cuts an RoI out of the image with subpixel accuracy: uint8 [h, w, 3], whose longer side is `CROP_SIDE` pixels."""
    width, height = np.maximum(box[2:] - box[:2], 1)
    scale = CROP_SIDE / max(width, height)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    corners = (float(box[0]), float(box[1]), float(box[0] + width), float(box[1] + height))
    # A box thinner than a pixel is made one pixel wide. If it then reaches outside, `transform` fills in black.
    matrix = ((corners[2] - corners[0]) / size[0], 0, corners[0], 0, (corners[3] - corners[1]) / size[1], corners[1])
    return np.array(Image.fromarray(image).transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC))


def _picture_of(cells: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Draws a mask float [M, M] in the colours of scores, enlarged to size (h, w)."""
    colours = SCORE_COLOURS(cells, bytes=True)[..., :3]
    return np.array(Image.fromarray(colours).resize(size[::-1], Image.Resampling.NEAREST))


def _side_by_side(crops: list[np.ndarray]) -> np.ndarray:
    """Places crops of the same height side by side, with white gaps."""
    gap = np.full((len(crops[0]), GAP, 3), 255, np.uint8)
    return np.concatenate([part for crop in crops for part in (gap, crop)][1:], axis=1)
