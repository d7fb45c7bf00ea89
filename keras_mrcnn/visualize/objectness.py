"""Figures of objectness: where each level of the RPN sees objects.

Shape letters: H W the picture's height and width, h w those of a feature map.
"""

from __future__ import annotations

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from keras_mrcnn.visualize.figures import ColourBar, Panel, panel_figure
from keras_mrcnn.visualize.palette import SCORE_COLOURS
from keras_mrcnn.visualize.panels import PanelImage
from keras_mrcnn.visualize.stage_outputs import StageOutputs

HEAT_OPACITY = 0.7


def show_objectness(outputs: StageOutputs) -> Figure:
    """Shows the objectness of every level on top of the grey image, for each cell that of its best anchor.

    All levels have the same scale, 0 to 1. The colours of the bar are those of objectness on top of medium grey.

    Args:
        outputs: outputs of all stages for one image.

    Returns:
        `Figure` with a panel for each level and a colour bar.

    Reference: Ren et al., Faster R-CNN, 2015, section 3.1.
    """
    panel = PanelImage(outputs.image, columns=3)
    grey = panel.picture.mean(axis=2, keepdims=True)
    panels = []
    for level in outputs.levels:
        cells = level.objectness.max(axis=2)
        stride = panel.fit_boxes([[0, 0, level.stride[1], level.stride[0]]])[0, 3:1:-1]
        heat = spread_cells(cells, tuple(stride), panel.picture.shape[:2])
        over = SCORE_COLOURS(heat)[..., :3] * 255 * HEAT_OPACITY + grey * (1 - HEAT_OPACITY)
        title = f"{level.name}: {cells.shape[0]} x {cells.shape[1]} cells,\nhighest {cells.max():.2f}"
        panels.append(Panel(np.round(over).astype(np.uint8), title))
    colours = ListedColormap(SCORE_COLOURS.colors[:, :3] * HEAT_OPACITY + 0.5 * (1 - HEAT_OPACITY))
    return panel_figure(panels, 3, bar=ColourBar(colours, 0.0, 1.0, "objectness"))


def spread_cells(cells: np.ndarray, stride: tuple[float, float], size: tuple[int, int]) -> np.ndarray:
    """Enlarges a map by giving each pixel the value of the cell whose centre is nearest.

    Args:
        cells: float [h, w]; cell (i, j) is centred on (i * stride y, j * stride x).
        stride: (y, x), distance between cells in pixels.
        size: (H, W) of the result.

    Returns:
        float [H, W].
    """
    rows, columns = (
        np.clip(np.round((np.arange(pixels) + 0.5) / step).astype(int), 0, count - 1)
        for pixels, step, count in zip(size, stride, cells.shape)
    )
    return cells[rows[:, None], columns]
