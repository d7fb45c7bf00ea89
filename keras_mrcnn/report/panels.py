"""Pictures of the report: the results of each stage on an image, as JPEG embedded in the page."""

from __future__ import annotations

import base64
import dataclasses
import functools
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from keras_mrcnn.report.pictures import PictureScore
from keras_mrcnn.visualize.figures import counted
from keras_mrcnn.visualize.objects import paint_detections, paint_ground_truth
from keras_mrcnn.visualize.panels import PANEL_PEN, PanelImage
from keras_mrcnn.visualize.proposals import best_of, paint_ranked
from keras_mrcnn.visualize.stage_outputs import StageOutputs

JPEG_QUALITY = 85
PROPOSALS = 20


@dataclass(frozen=True)
class Panel:
    """A picture with its title.

    Args:
        title: text above the picture.
        alt: text that describes the picture.
        source: data URI of the picture.
        width, height: size of the picture in pixels.
    """

    title: str
    alt: str
    source: str
    width: int
    height: int


@dataclass(frozen=True)
class PicturePanels:
    """A picture of the data set with the panels of all stages."""

    name: str
    score: PictureScore
    panels: tuple[Panel, ...]

    @property
    def words(self) -> str:
        """Returns the score as text."""
        score = self.score
        return f"quality {score.quality:.2f}: {score.detected} detected, {score.missed} missed, {score.wrong} wrong"


def picture_panels(name: str, score: PictureScore, outputs: StageOutputs, min_score: float = 0.5) -> PicturePanels:
    """Draws the ground truth, the RPN's best proposals, the box head's detections and the mask head's masks.

    Args:
        name: name of the image file.
        score: score of the picture.
        outputs: outputs of all stages for the image, from `inspect_stages`, with ground truth.
        min_score: lowest score of the detections that are drawn.

    Returns:
        `PicturePanels` with four panels.
    """
    panel, names, objects = PanelImage(outputs.image, columns=3), outputs.class_names, outputs.ground_truth
    detections = panel.fit(outputs.detections.above(min_score))
    boxes, proposals = dataclasses.replace(detections, masks=None), panel.fit_boxes(outputs.proposals.boxes[:PROPOSALS])
    paint = functools.partial(paint_detections, panel.picture, pen=PANEL_PEN, class_names=names)
    pictures = {
        f"Ground truth: {counted(len(objects), 'object')}": paint_ground_truth(
            panel.picture, panel.fit(objects), PANEL_PEN, "class", names
        ),
        f"RPN: {best_of(outputs.proposals, PROPOSALS)}": paint_ranked(panel.picture, proposals, PANEL_PEN.line_width),
        f"Box head: {counted(len(detections), 'detection')}": paint(boxes),
        "Mask head: their masks": paint(detections, masks_alone=True),
    }
    lists = {"Ground truth": _list(objects.class_names), "Box head": _list(detections.class_names)}
    panels = []
    for title, picture in pictures.items():
        contents = lists.get(title.partition(":")[0])
        panels.append(picture_panel(title, f"{name}, {title}{f' ({contents})' if contents else ''}", picture))
    return PicturePanels(name, score, tuple(panels))


def _list(names: tuple[str, ...]) -> str:
    """Returns the names with their counts, such as "2 car, dog" for car, dog and car."""
    counts = {name: names.count(name) for name in names}
    return ", ".join(name if count == 1 else f"{count} {name}" for name, count in counts.items())


def picture_panel(title: str, alt: str, picture: np.ndarray) -> Panel:
    """Returns a picture uint8 [H, W, 3] as a panel, with its title above it and a text for those who do not see it."""
    height, width = picture.shape[:2]
    return Panel(title, alt, data_uri(picture), width, height)


def data_uri(picture: np.ndarray) -> str:
    """Returns a picture uint8 [H, W, 3] as the data URI of a JPEG, which can be embedded in the page."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
