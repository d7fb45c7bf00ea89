"""Which object of one frame is which of the next, so that each keeps its colour. NumPy alone.

An object of a frame is taken for the one whose mask it shares most of, or, where no mask fits, whose box. There is no
model of motion: in a video an object has moved little from one frame to the next.

Shape letters: T tracks, D detections of a frame, h w the image's height and width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from keras_mrcnn.base.records import Detections, MaskPatch

MIN_IOU = 0.3  # below this, two are not the same object
OTHER_CLASS = 0.5  # weight of an IoU between two classes: the detector may change its mind, but seldom
MASK_IMAGE_SIDE = 512  # masks are compared in an image of at most this side, in pixels


@dataclass
class _Object:
    """An object as it was last seen; `unseen` counts the frames since."""

    category_id: int
    box: np.ndarray
    patch: MaskPatch | None
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
    weights = np.array([[1.0 if old.category_id == new.category_id else OTHER_CLASS for new in seen] for old in tracks])
    masks = np.zeros_like(boxes)
    for row, column in np.argwhere(boxes > 0):
        masks[row, column] = mask_iou(tracks[row].patch, seen[column].patch)
    owners: dict[int, int] = {}
    for table in (masks, boxes):
        table = table * weights.reshape(table.shape)
        table[list(owners.values()), :] = 0
        table[:, list(owners)] = 0
        owners.update((column, row) for row, column in best_pairs(table, MIN_IOU))
    return owners


def best_pairs(table: np.ndarray, least: float) -> list[tuple[int, int]]:
    """Takes pairs from the best on, each row and column once.

    Args:
        table: float [T, D], how well row and column fit.
        least: pairs below this are not taken.

    Returns:
        list of (row, column), best first.
    """
    pairs, rows, columns = [], set(), set()
    for place in np.argsort(-table, axis=None, kind="stable"):
        row, column = (int(number) for number in np.unravel_index(place, table.shape))
        if table[row, column] < least:
            break
        if row not in rows and column not in columns:
            pairs.append((row, column))
            rows.add(row)
            columns.add(column)
    return pairs


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IoU of each box of one set with each of the other: float [T, 4] and [D, 4], xyxy -> float64 [T, D]."""
    first, second = first.astype(np.float64)[:, None], second.astype(np.float64)[None]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    shared = np.maximum(sides, 0).prod(axis=-1)
    areas = [np.maximum(boxes[..., 2:] - boxes[..., :2], 0).prod(axis=-1) for boxes in (first, second)]
    return shared / np.maximum(areas[0] + areas[1] - shared, 1e-9)


def mask_iou(first: MaskPatch | None, second: MaskPatch | None) -> float:
    """IoU of two masks, each the part of the image that it can touch; 0 where one is missing or has no pixel."""
    if first is None or second is None:
        return 0.0
    (y0, x0, one), (y1, x1, other) = first, second
    top, left = max(y0, y1), max(x0, x1)
    bottom, right = min(y0 + one.shape[0], y1 + other.shape[0]), min(x0 + one.shape[1], x1 + other.shape[1])
    if bottom <= top or right <= left:
        return 0.0
    one_part = one[top - y0 : bottom - y0, left - x0 : right - x0]
    shared = np.count_nonzero(one_part & other[top - y1 : bottom - y1, left - x1 : right - x1])
    return shared / max(np.count_nonzero(one) + np.count_nonzero(other) - shared, 1)


def _objects(detections: Detections) -> list[_Object]:
    patches = _mask_patches(detections) if detections.masks is not None else [None] * len(detections)
    rows = zip(detections.category_ids.tolist(), detections.boxes, patches)
    return [_Object(category_id, box, patch) for category_id, box, patch in rows]


def _mask_patches(detections: Detections) -> list[MaskPatch]:
    """The masks, pasted into a smaller image where the frames are large: enough to compare them, and quick."""
    scale = min(1.0, MASK_IMAGE_SIDE / max(detections.image_size))
    size = tuple(max(1, round(side * scale)) for side in detections.image_size)
    return list(replace(detections, boxes=detections.boxes * scale, image_size=size).mask_patches())


def _boxes(objects: list[_Object]) -> np.ndarray:
    return np.array([item.box for item in objects], np.float64).reshape(-1, 4)
