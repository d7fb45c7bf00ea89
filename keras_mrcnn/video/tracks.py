"""Tracks objects from frame to frame, so that each keeps its colour.

An object is matched with the object of the frame before whose mask it overlaps most or, if no mask fits, with the one
whose box it overlaps most. There is no model of motion, because objects move little from one frame to the next.

Shape letters: T tracks, D detections of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from pycocotools import mask as coco_mask

from keras_mrcnn.base.iou import box_iou, match_pairs
from keras_mrcnn.base.records import Detections

MIN_IOU = 0.3  # objects that overlap less are not the same
OTHER_CLASS = 0.5  # weight of an IoU between classes, since an object rarely changes class
MASK_IMAGE_SIDE = 512  # pixels; masks are compared in images of at most this size


@dataclass
class _Object:
    """An object as it was last detected; `unseen` counts the frames since then."""

    category_id: int
    box: np.ndarray
    mask: dict | None  # RLE, at most MASK_IMAGE_SIDE pixels per side
    colour: int = -1
    unseen: int = 0


class ColourTracks:
    """Tracks of the objects in a video, which give each object a colour that it keeps.

    Args:
        num_colours: size of the palette. If there are more objects, some share a colour.
        memory: number of frames without a detection after which an object is forgotten. If it comes back later, it
            counts as a new object.

    Example:
        >>> tracks = ColourTracks(num_colours=7)
        >>> def detections(*boxes):
        ...     count = len(boxes)
        ...     return Detections(np.float32(boxes), np.ones(count), np.ones(count, int), ["a"] * count, None, (50, 50))
        >>> tracks.update(detections([0, 0, 10, 10], [30, 30, 40, 40])).tolist()
        [0, 1]
        >>> tracks.update(detections([31, 30, 41, 40], [1, 0, 11, 10])).tolist()
        [1, 0]
    """

    def __init__(self, num_colours: int, memory: int = 15) -> None:
        self._num_colours, self._memory = num_colours, memory
        self._tracks: list[_Object] = []

    def update(self, detections: Detections) -> np.ndarray:
        """Matches the detections of the next frame with the tracks.

        Args:
            detections: D detections of the next frame.

        Returns:
            int64 [D], the colour of each detection, 0 to num_colours - 1.
        """
        objects = _objects(detections)
        for number, owner in match(self._tracks, objects).items():
            objects[number].colour = self._tracks[owner].colour
            self._tracks[owner].unseen = -1  # the matched object replaces this track
        missing = [replace(track, unseen=track.unseen + 1) for track in self._tracks if track.unseen >= 0]
        self._tracks = [track for track in missing if track.unseen < self._memory]
        self._tracks += [item for item in objects if item.colour >= 0]
        for item in objects:
            if item.colour < 0:
                item.colour = self._rarest_colour()
                self._tracks.append(item)
        return np.array([item.colour for item in objects], np.int64)

    def _rarest_colour(self) -> int:
        """Returns the colour of the fewest objects, or the first such colour."""
        colours = np.array([track.colour for track in self._tracks], np.int64)
        return int(np.bincount(colours, minlength=self._num_colours).argmin())


def match(tracks: list[_Object], objects: list[_Object]) -> dict[int, int]:
    """Finds the track of each object, first by the masks and then, for the remaining objects, by the boxes.

    Args:
        tracks: T objects of the frames before.
        objects: D objects of the current frame.

    Returns:
        dict of positions in `objects` to positions in `tracks`, without the new objects.
    """
    boxes = box_iou(_boxes(tracks), _boxes(objects))
    masks = _mask_ious(tracks, objects)
    weights = np.array(
        [[1.0 if old.category_id == new.category_id else OTHER_CLASS for new in objects] for old in tracks]
    )
    owners: dict[int, int] = {}
    for table in (masks, boxes):
        table = table * weights.reshape(table.shape)
        table[list(owners.values()), :] = 0
        table[:, list(owners)] = 0
        owners.update((column, row) for row, column in match_pairs(table, MIN_IOU))
    return owners


def _mask_ious(tracks: list[_Object], objects: list[_Object]) -> np.ndarray:
    """Returns the IoU of the masks, float64 [T, D], or 0 if either has no mask."""
    ious = np.zeros((len(tracks), len(objects)))
    rows, columns = (np.array([i for i, item in enumerate(items) if item.mask], int) for items in (tracks, objects))
    if len(rows) and len(columns):
        old, new = [tracks[row].mask for row in rows], [objects[column].mask for column in columns]
        ious[np.ix_(rows, columns)] = coco_mask.iou(old, new, [0] * len(new))
    return ious


def _objects(detections: Detections) -> list[_Object]:
    """Returns the detections of a frame as objects without a colour."""
    rows = zip(detections.category_ids.tolist(), detections.boxes, _small_masks(detections))
    return [_Object(category_id, box, mask) for category_id, box, mask in rows]


def _small_masks(detections: Detections) -> list[dict | None]:
    """Returns the masks as RLE. Those of large frames are scaled down, which makes comparisons fast."""
    scale = min(1.0, MASK_IMAGE_SIDE / max(detections.image_size))
    size = tuple(max(1, round(side * scale)) for side in detections.image_size)
    small = replace(detections, boxes=detections.boxes * scale, image_size=size)
    return [result.get("segmentation") for result in small.to_coco(image_id=0)]


def _boxes(objects: list[_Object]) -> np.ndarray:
    """Returns the boxes of the objects, float64 [N, 4]."""
    return np.array([item.box for item in objects], np.float64).reshape(-1, 4)
