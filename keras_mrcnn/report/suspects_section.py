"""The part of the report about label errors: the pictures that `keras-mrcnn data suspects` has drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keras_mrcnn.base.image_files import read_image
from keras_mrcnn.report.panels import Panel, picture_panel
from keras_mrcnn.suspects import KINDS, read_suspects
from keras_mrcnn.suspects.files import KIND_TITLES


@dataclass(frozen=True)
class SuspectPanels:
    """What is probably wrong in the annotations.

    Args:
        data: folder of the images that were examined.
        images: number of these images.
        detections: what the detections come from.
        panels: the most suspicious ones of each kind that has any, as one picture.
    """

    data: str
    images: int
    detections: str
    panels: tuple[Panel, ...]


def suspect_panels(folder: Path) -> SuspectPanels:
    """Reads the folder that `keras-mrcnn data suspects` has written.

    Raises:
        UserError: a file is missing or damaged; the message names it.
    """
    content = read_suspects(folder)
    counts = {kind: sum(row["kind"] == kind for row in content["suspects"]) for kind in KINDS}
    panels = [
        picture_panel(f"{KIND_TITLES[kind]}: {counts[kind]}", KIND_TITLES[kind], read_image(folder / name))
        for kind, name in content["pictures"].items()
    ]
    return SuspectPanels(content["data"], content["images"], content["detections"], tuple(panels))
