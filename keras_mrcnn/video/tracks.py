"""Which object of one frame is which of the next, so that each keeps its colour.

An object of a frame is taken for the one whose mask it shares most of, or, where no mask fits, whose box. There is no
model of motion: in a video an object has moved little from one frame to the next.

Shape letters: T tracks, D detections of a frame, h w the image's height and width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from pycocotools import mask as coco_mask

from keras_mrcnn.base.iou import box_iou, match_pairs
from keras_mrcnn.base.records import Detections

MIN_IOU = 0.3  # below this, two are not the same object
OTHER_CLASS = 0.5  # weight of an IoU between two classes: the detector may change its mind, but seldom
MASK_IMAGE_SIDE = 512  # masks are compared in an image of at most this side, in pixels


@dataclass
class _Object:
    """An object as it was last seen; `unseen` counts the frames since."""

    category_id: int
    box: np.ndarray
    mask: dict | None  # RLE, at most MASK_IMAGE_SIDE pixels a side
    colour: int = -1
    unseen: int = 0


class ColourTracks:
    """Gives the detections of frame after frame colours that stay with the objects.

    Args:
        num_colours: of the palette. Of more objects than that, some share one.
        memory: an object that is not seen for this many frames is forgotten, and comes back as a new one.

    Example:
        >>> tracks = ColourTracks(num_colours=7)
        >>> def seen(*boxes):
        ...     count = len(boxes)
        ...     return Detections(np.float32(boxes), np.ones(count), np.ones(count, int), ["a"] * count, None, (50, 50))
        >>> tracks.update(seen([0, 0, 10, 10], [30, 30, 40, 40])).tolist()
        [0, 1]
        >>> tracks.update(seen([31, 30, 41, 40], [1, 0, 11, 10])).tolist()
        [1, 0]
    """

    def __init__(self, num_colours: int, memory: int = 15) -> None:
        self._num_colours, self._memory = num_colours, memory
        self._tracks: list[_Object] = []

    def update(self, detections: Detections) -> np.ndarray:
        """Takes the detections of the next frame.

        Returns:
            int64 [D], the colour of each detection, 0 to num_colours - 1.
        """
        seen = _objects(detections)
        for number, owner in match(self._tracks, seen).items():
            seen[number].colour = self._tracks[owner].colour
            self._tracks[owner].unseen = -1  # its place is taken by what was seen
        missing = [replace(track, unseen=track.unseen + 1) for track in self._tracks if track.unseen >= 0]
        self._tracks = [track for track in missing if track.unseen < self._memory]
        self._tracks += [item for item in seen if item.colour >= 0]
        for item in seen:
            if item.colour < 0:
                item.colour = self._rarest_colour()
                self._tracks.append(item)
        return np.array([item.colour for item in seen], np.int64)

    def _rarest_colour(self) -> int:
        """The colour that fewest objects have, the first of these."""
        colours = np.array([track.colour for track in self._tracks], np.int64)
        return int(np.bincount(colours, minlength=self._num_colours).argmin())


def match(tracks: list[_Object], seen: list[_Object]) -> dict[int, int]:
    """Finds the track of each object: by the masks first, by the boxes for what is left.

    Returns:
        dict from the number of an object in `seen` to the number of its track; new objects are not in it.
    """
    boxes = box_iou(_boxes(tracks), _boxes(seen))
    masks = _mask_ious(tracks, seen)
    weights = np.array([[1.0 if old.category_id == new.category_id else OTHER_CLASS for new in seen] for old in tracks])
    owners: dict[int, int] = {}
    for table in (masks, boxes):
        table = table * weights.reshape(table.shape)
        table[list(owners.values()), :] = 0
        table[:, list(owners)] = 0
        owners.update((column, row) for row, column in match_pairs(table, MIN_IOU))
    return owners


def _mask_ious(tracks: list[_Object], seen: list[_Object]) -> np.ndarray:
    """Returns the IoU of the masks, float64 [T, D]; 0 where one of them is missing."""
    ious = np.zeros((len(tracks), len(seen)))
    rows, columns = (np.array([i for i, item in enumerate(items) if item.mask], int) for items in (tracks, seen))
    if len(rows) and len(columns):
        old, new = [tracks[row].mask for row in rows], [seen[column].mask for column in columns]
        ious[np.ix_(rows, columns)] = coco_mask.iou(old, new, [0] * len(new))
    return ious


def _objects(detections: Detections) -> list[_Object]:
    rows = zip(detections.category_ids.tolist(), detections.boxes, _small_masks(detections))
    return [_Object(category_id, box, mask) for category_id, box, mask in rows]


def _small_masks(detections: Detections) -> list[dict | None]:
    """Returns the masks as RLE, smaller where the frames are large: enough to compare them, and quick."""
    scale = min(1.0, MASK_IMAGE_SIDE / max(detections.image_size))
    size = tuple(max(1, round(side * scale)) for side in detections.image_size)
    small = replace(detections, boxes=detections.boxes * scale, image_size=size)
    return [result.get("segmentation") for result in small.to_coco(image_id=0)]


def _boxes(objects: list[_Object]) -> np.ndarray:
    return np.array([item.box for item in objects], np.float64).reshape(-1, 4)
