"""The two records that cross the public border: `Detections` and `GroundTruth`, both of one image.

Both hold a small mask for each object, relative to its box, and paste it into the image only when asked.
NumPy alone is needed (pycocotools for `Detections.to_coco`), so that serving runs without TensorFlow.

Shape letters: D detections, G ground truths, M and S mask sides, h w the image's height and width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

# A pasted mask with the place of its upper left corner: `image[y:y + wh, x:x + ww]` is where it belongs.
MaskPatch = tuple[int, int, np.ndarray]


@dataclass(frozen=True, eq=False)
class Detections:
    """What the model found in one image, in pixels of the original image.

    Args:
        boxes: float32 [D, 4], xyxy pixels of the original image.
        scores: float32 [D], 0 to 1.
        category_ids: int32 [D], the data set's (COCO) category ids.
        class_names: D strings, the class name of each detection.
        masks: float32 [D, M, M] (M is 28), probabilities on a grid over the box, or None.
        image_size: (h, w) of the original image.

    Raises:
        ValueError: a field has the wrong shape or kind of number, or the lengths differ; the message names it.

    Example:
        >>> found = Detections(np.float32([[1, 2, 5, 8]]), np.float32([0.9]), np.int32([3]), ("car",), None, (10, 12))
        >>> len(found), len(found.above(0.95)), found.to_coco(image_id=7)[0]["bbox"]
        (1, 0, [1.0, 2.0, 4.0, 6.0])
    """

    boxes: np.ndarray
    scores: np.ndarray
    category_ids: np.ndarray
    class_names: tuple[str, ...]
    masks: np.ndarray | None
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        """Checks every field and converts it to its documented dtype."""
        boxes = _checked_array("Detections.boxes", self.boxes, np.float32, ("D", 4))
        count = len(boxes)
        fields = {
            "boxes": boxes,
            "scores": _checked_array("Detections.scores", self.scores, np.float32, (count,)),
            "category_ids": _checked_array("Detections.category_ids", self.category_ids, np.int32, (count,)),
            "class_names": _checked_names("Detections.class_names", self.class_names, count),
            "masks": None,
            "image_size": _checked_size("Detections.image_size", self.image_size),
        }
        if self.masks is not None:
            fields["masks"] = _checked_masks("Detections.masks", self.masks, np.float32, count)
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @classmethod
    def empty(cls, image_size: tuple[int, int]) -> Detections:
        """Returns the record of an image in which nothing was found, with masks of shape [0, 28, 28]."""
        zeros = np.zeros
        return cls(zeros((0, 4)), zeros(0), zeros(0, np.int32), (), zeros((0, 28, 28)), image_size)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray) -> Detections:
        """Picks detections by number, slice, list of numbers or mask; always gives a `Detections`."""
        index = _checked_index(index, len(self))
        masks = None if self.masks is None else self.masks[index]
        names = tuple(np.array(self.class_names, dtype=object)[index])
        return Detections(
            self.boxes[index], self.scores[index], self.category_ids[index], names, masks, self.image_size
        )

    def above(self, score: float) -> Detections:
        """Returns the detections whose score is at least `score`, in the same order."""
        return self[self.scores >= score]

    def mask_patches(self, threshold: float | None = 0.5) -> Iterator[MaskPatch]:
        """Gives each mask as the part of the image that it can touch; costs no more than that part.

        Args:
            threshold: probability above which a pixel belongs to the object; None gives probabilities.

        Returns:
            iterator of (y, x, patch): patch is bool, or float32 without threshold, and belongs at
            image[y : y + patch.shape[0], x : x + patch.shape[1]]; it may have no pixels.

        Raises:
            ValueError: these detections have no masks.

        Reference:
            torchvision `models/detection/roi_heads.py`, `paste_masks_in_image`.
        """
        if self.masks is None:
            raise ValueError("Detections.masks is None, so there is nothing to paste; predict with masks first.")
        for y, x, patch in _detection_patches(self.masks, self.boxes, self.image_size):
            yield y, x, patch if threshold is None else patch > threshold

    def paste_masks(self, threshold: float | None = 0.5) -> np.ndarray:
        """Returns the masks at the size of the image: bool [D, h, w], or float32 when threshold is None."""
        dtype = np.float32 if threshold is None else bool
        return _paste_patches(self.mask_patches(threshold), len(self), self.image_size, dtype)

    def to_coco(self, image_id: int) -> list[dict]:
        """Returns COCO results, one dict a detection, that `json.dump` and pycocotools' `loadRes` take.

        Args:
            image_id: the image's id in the COCO annotation file.

        Returns:
            list of dicts with image_id, category_id, bbox ([x, y, width, height], pixels), score and, where
            there are masks, segmentation (compressed RLE of the mask pasted at 0.5, counts as str).
        """
        corners = self.boxes.astype(np.float64)
        boxes_xywh = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        columns = zip(self.category_ids.tolist(), boxes_xywh.tolist(), self.scores.tolist())
        results = [
            {"image_id": int(image_id), "category_id": category_id, "bbox": box_xywh, "score": score}
            for category_id, box_xywh, score in columns
        ]
        if self.masks is not None:
            for result, segmentation in zip(results, _encode_patches(self.mask_patches(), self.image_size)):
                result["segmentation"] = segmentation
        return results


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The annotated objects of one image, without crowds.

    Args:
        boxes: float32 [G, 4], xyxy pixels of the image.
        labels: int32 [G], 1 to K: the classes in the order of the data set's category ids.
        masks: uint8 [G, S, S], for each cell of an S x S grid over the box, the share of it that the object
            covers, 0 to 255, or None.
        class_names: G strings, the class name of each object.
        image_size: (h, w) of the image.

    Raises:
        ValueError: a field has the wrong shape or kind of number, or the lengths differ; the message names it.

    Example:
        >>> car = GroundTruth(np.float32([[1, 2, 5, 8]]), np.int32([1]), np.full((1, 4, 4), 255), ("car",), (10, 12))
        >>> car.paste_masks().sum()
        24
    """

    boxes: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None
    class_names: tuple[str, ...]
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        """Checks every field and converts it to its documented dtype."""
        boxes = _checked_array("GroundTruth.boxes", self.boxes, np.float32, ("G", 4))
        count = len(boxes)
        labels = _checked_array("GroundTruth.labels", self.labels, np.int32, (count,))
        if count and labels.min() < 1:
            raise ValueError(f"GroundTruth.labels holds {labels.min()}, but labels start at 1; leave padding rows out.")
        fields = {
            "boxes": boxes,
            "labels": labels,
            "masks": None,
            "class_names": _checked_names("GroundTruth.class_names", self.class_names, count),
            "image_size": _checked_size("GroundTruth.image_size", self.image_size),
        }
        if self.masks is not None:
            fields["masks"] = _checked_masks("GroundTruth.masks", self.masks, np.uint8, count)
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray) -> GroundTruth:
        """Picks objects by number, slice, list of numbers or mask; always gives a `GroundTruth`."""
        index = _checked_index(index, len(self))
        names = tuple(np.array(self.class_names, dtype=object)[index])
        masks = None if self.masks is None else self.masks[index]
        return GroundTruth(self.boxes[index], self.labels[index], masks, names, self.image_size)

    def mask_patches(self) -> Iterator[MaskPatch]:
        """Gives each mask as the part of the image that its box covers: (y, x, bool patch).

        A pixel belongs to the object where the coverage, interpolated at the pixel's centre, is above one
        half. Nothing is padded around the grid, so a mask that fills its box is given back whole.

        Raises:
            ValueError: the ground truth was read without masks.
        """
        if self.masks is None:
            raise ValueError("GroundTruth.masks is None, so there is nothing to paste; read it with a mask size.")
        height, width = self.image_size
        for mask, (x0, y0, x1, y1) in zip(self.masks, self.boxes.astype(np.float64).tolist()):
            rows = _pixels_inside(y0, y1, height)
            columns = _pixels_inside(x0, x1, width)
            values = mask.astype(np.float32) / np.float32(255.0)
            across = _interpolation(np.array(columns) + 0.5 - x0, x1 - x0, len(mask))
            down = _interpolation(np.array(rows) + 0.5 - y0, y1 - y0, len(mask))
            yield rows.start, columns.start, down @ values @ across.T > 0.5

    def paste_masks(self) -> np.ndarray:
        """Returns the masks at the size of the image: bool [G, h, w]."""
        return _paste_patches(self.mask_patches(), len(self), self.image_size, bool)


def _detection_patches(masks: np.ndarray, boxes: np.ndarray, image_size: tuple[int, int]) -> Iterator[MaskPatch]:
    """Gives the soft pasted masks, cut to the image. All the arithmetic on boxes is float32, as torchvision's."""
    height, width = image_size
    side = masks.shape[-1] + 2
    padded = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
    centres = (boxes[:, 2:] + boxes[:, :2]) * 0.5
    halves = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * (side / masks.shape[-1])
    corners = np.concatenate([centres - halves, centres + halves], axis=1).astype(np.int64)
    for mask, (x0, y0, x1, y1) in zip(padded, corners.tolist()):
        rows = np.arange(max(y0, 0), min(y1 + 1, height))
        columns = np.arange(max(x0, 0), min(x1 + 1, width))
        down = _interpolation(rows - y0 + 0.5, max(y1 - y0 + 1, 1), side)
        across = _interpolation(columns - x0 + 0.5, max(x1 - x0 + 1, 1), side)
        yield max(y0, 0), max(x0, 0), down @ mask @ across.T


def _interpolation(offsets: np.ndarray, length: float, side: int) -> np.ndarray:
    """Returns the float32 [P, side] matrix that interpolates `side` grid cells over `length` at P points.

    `offsets` are distances from the start, in the units of `length`; values lie at the cells' centres, and
    the outermost ones hold to the edge (torch's `interpolate`, bilinear, align_corners=False).
    """
    weights = np.zeros((len(offsets), side), np.float32)
    if not len(offsets):
        return weights
    places = np.clip(np.asarray(offsets, np.float64) * (side / length) - 0.5, 0.0, side - 1.0)
    lower = places.astype(np.int64)
    upper = np.minimum(lower + 1, side - 1)
    share = (places - lower).astype(np.float32)
    points = np.arange(len(offsets))
    np.add.at(weights, (points, lower), 1.0 - share)
    np.add.at(weights, (points, upper), share)
    return weights


def _pixels_inside(start: float, stop: float, size: int) -> range:
    """Returns the numbers of the pixels within 0..size-1 whose centres lie in [start, stop)."""
    return range(max(int(np.ceil(start - 0.5)), 0), min(int(np.ceil(stop - 0.5)), size))


def _paste_patches(patches: Iterator[MaskPatch], count: int, image_size: tuple[int, int], dtype: type) -> np.ndarray:
    """Returns [count, h, w] with every patch at its place and zeros elsewhere."""
    pasted = np.zeros((count, *image_size), dtype)
    for image, (y, x, patch) in zip(pasted, patches):
        image[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
    return pasted


def _encode_patches(patches: Iterator[MaskPatch], image_size: tuple[int, int]) -> Iterator[dict]:
    """Gives a COCO RLE dict for every patch; only one image-sized buffer is ever held."""
    from pycocotools import mask as coco_mask

    image = np.zeros(image_size, np.uint8, order="F")
    for y, x, patch in patches:
        place = image[y : y + patch.shape[0], x : x + patch.shape[1]]
        place[...] = patch
        encoded = coco_mask.encode(image)
        place[...] = 0
        yield {"size": list(image_size), "counts": encoded["counts"].decode("ascii")}


def _checked_array(name: str, value: object, dtype: type, shape: tuple[int | str, ...]) -> np.ndarray:
    """Returns `value` as a read-only array of `dtype`, or raises ValueError; letters in `shape` fit any length."""
    array = np.asarray(value)
    fits = array.ndim == len(shape) and all(
        isinstance(wanted, str) or got == wanted for got, wanted in zip(array.shape, shape)
    )
    if not fits:
        wanted = ", ".join(str(part) for part in shape)
        raise ValueError(f"{name} has shape {list(array.shape)}, expected [{wanted}].")
    kinds = "iuf" if np.issubdtype(dtype, np.floating) else "iu"
    if array.dtype.kind not in kinds:
        raise ValueError(f"{name} has dtype {array.dtype}, expected {np.dtype(dtype)}.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinite values; every value must be finite.")
    array = array.astype(dtype)  # a copy, so that nobody else can change a frozen record
    array.flags.writeable = False
    return array


def _checked_masks(name: str, value: object, dtype: type, count: int) -> np.ndarray:
    """Returns square masks [count, M, M] of `dtype`, or raises ValueError."""
    masks = _checked_array(name, value, dtype, (count, "M", "M"))
    if masks.shape[1] != masks.shape[2] or masks.shape[1] < 1:
        raise ValueError(f"{name} has shape {list(masks.shape)}, expected square masks [{count}, M, M] with M >= 1.")
    return masks


def _checked_names(name: str, value: object, count: int) -> tuple[str, ...]:
    """Returns `value` as a tuple of `count` strings, or raises ValueError."""
    if isinstance(value, str) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{name} is {value!r}, expected a tuple of {count} strings.")
    names = tuple(str(item) for item in value)
    if len(names) != count:
        raise ValueError(f"{name} has {len(names)} names for {count} boxes; give the name of each object.")
    return names


def _checked_size(name: str, value: object) -> tuple[int, int]:
    """Returns `value` as (height, width), two positive ints, or raises ValueError."""
    size = np.asarray(value)
    if size.shape != (2,) or size.dtype.kind not in "iu" or size.min() < 1:
        raise ValueError(f"{name} is {value!r}, expected two positive integers (height, width).")
    return int(size[0]), int(size[1])


def _checked_index(index: object, count: int) -> object:
    """Returns an index that keeps the object axis: numbers become slices, and an empty list picks nothing."""
    if isinstance(index, slice):
        return index
    array = np.asarray(index)
    if array.ndim == 0 and array.dtype.kind in "iu":
        return np.arange(count)[int(array), None]
    return array.astype(np.int64) if array.size == 0 else array
