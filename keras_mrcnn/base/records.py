"""The two public records of one image: `Detections` and `GroundTruth`.

Both hold a small mask for each object, relative to its box, and paste it into the image only on request. They need
only NumPy (and pycocotools for `Detections.to_coco`), so that serving runs without TensorFlow.

Shapes: D detections, G ground truths, M and S mask sides, h and w height and width of the image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from keras_mrcnn.base import mask_pasting
from keras_mrcnn.base.mask_pasting import MaskPatch

# The outputs of the model, and of everything exported from it, for each picture.
OUTPUT_NAMES = ("boxes", "scores", "category_ids", "valid", "masks")


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects that the model detects in one image, in pixels of the original image.

    Args:
        boxes: float32 [D, 4], xyxy pixels of the original image.
        scores: float32 [D], 0 to 1.
        category_ids: int32 [D], the data set's (COCO) category ids.
        class_names: D strings, the class name of each detection.
        masks: float32 [D, M, M] (M is 28), probabilities on a grid over the box, or None.
        image_size: (h, w) of the original image.

    Raises:
        ValueError: a field has the wrong shape or dtype, or the lengths differ; the message names the field.

    Example:
        >>> boxes, scores, category_ids = np.float32([[1, 2, 5, 8]]), np.float32([0.9]), np.int32([3])
        >>> detections = Detections(boxes, scores, category_ids, ("car",), None, (10, 12))
        >>> len(detections), len(detections.above(0.95)), detections.to_coco(image_id=7)[0]["bbox"]
        (1, 0, [1.0, 2.0, 4.0, 6.0])
        >>> detections
        Detections(1 object, best car 0.90, image 10 x 12)
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
        """Returns the record of an image without detections; its masks have the shape [0, 28, 28]."""
        zeros = np.zeros
        return cls(zeros((0, 4)), zeros(0), zeros(0, np.int32), (), zeros((0, 28, 28)), image_size)

    @classmethod
    def from_outputs(
        cls, outputs: Mapping[str, np.ndarray], class_names: Mapping[int, str], image_size: tuple[int, int]
    ) -> Detections:
        """Makes the record of one image from the outputs of `Detector.detect` or of an exported model.

        Args:
            outputs: arrays without the batch dimension: boxes float32 [D, 4], xyxy pixels of the original image, best
                first; scores float32 [D]; category_ids int32 [D]; valid int32 [], how many rows are detections; masks
                uint8 [D, M, M], 255 * probability (optional).
            class_names: dict from each category id to its class name.
            image_size: (h, w) of the original image.

        Raises:
            ValueError: a category id has no name.
        """
        count = int(outputs["valid"])
        category_ids = np.asarray(outputs["category_ids"])[:count]
        unknown = sorted(set(category_ids.tolist()) - set(class_names))
        if unknown:
            raise ValueError(f"category_ids holds {unknown[0]}, but the model's categories are {sorted(class_names)}.")
        return cls(
            boxes=outputs["boxes"][:count],
            scores=outputs["scores"][:count],
            category_ids=category_ids,
            class_names=tuple(class_names[category_id] for category_id in category_ids.tolist()),
            masks=outputs["masks"][:count].astype(np.float32) / 255.0 if "masks" in outputs else None,
            image_size=image_size,
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def __repr__(self) -> str:
        best = ""
        if len(self):
            first = int(self.scores.argmax())
            best = f", best {self.class_names[first]} {self.scores[first]:.2f}"
        height, width = self.image_size
        return f"Detections({_counted(len(self))}{best}, image {height} x {width})"

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray) -> Detections:
        """Selects detections by an index, slice, list of indices or bool mask; always returns `Detections`."""
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
        """Gives each mask as the part of the image that it can touch, and computes no more than that part.

        Args:
            threshold: probability above which a pixel belongs to the object; None gives probabilities.

        Returns:
            Iterator of (y, x, patch); patch is bool, or float32 without threshold, and its place is
            image[y : y + patch.shape[0], x : x + patch.shape[1]]. A patch may be empty.

        Raises:
            ValueError: these detections have no masks.

        Reference:
            torchvision `models/detection/roi_heads.py`, `paste_masks_in_image`.
        """
        return mask_pasting.patches(self._grids(), threshold)

    def paste_masks(self, threshold: float | None = 0.5) -> np.ndarray:
        """Returns the masks at the size of the image.

        Args:
            threshold: probability above which a pixel belongs to the object; None gives probabilities.

        Returns:
            bool [D, h, w], or float32 without threshold.

        Raises:
            ValueError: these detections have no masks.
        """
        return mask_pasting.paste(self._grids(), len(self), self.image_size, threshold)

    def to_coco(self, image_id: int) -> list[dict]:
        """Returns the detections as COCO results, for `json.dump` and pycocotools' `loadRes`.

        Args:
            image_id: the image's id in the COCO annotation file.

        Returns:
            List with a dict for each detection: image_id, category_id, bbox ([x, y, width, height], pixels), score
            and, if there are masks, segmentation (compressed RLE of the mask pasted at 0.5, counts as str).
        """
        corners = self.boxes.astype(np.float64)
        boxes_xywh = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        columns = zip(self.category_ids.tolist(), boxes_xywh.tolist(), self.scores.tolist())
        results = [
            {"image_id": int(image_id), "category_id": category_id, "bbox": box_xywh, "score": score}
            for category_id, box_xywh, score in columns
        ]
        if self.masks is not None:
            for result, segmentation in zip(results, mask_pasting.encode(self.mask_patches(), self.image_size)):
                result["segmentation"] = segmentation
        return results

    def _grids(self) -> Iterator[mask_pasting.Grid]:
        if self.masks is None:
            raise ValueError("Detections.masks is None, so there is nothing to paste; predict with masks first.")
        return mask_pasting.detection_grids(self.masks, self.boxes, self.image_size)


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The annotated objects of one image, without crowds.

    Args:
        boxes: float32 [G, 4], xyxy pixels of the image.
        labels: int32 [G], 1 to K, the classes in the order of the data set's category ids.
        masks: uint8 [G, S, S], the share of each cell of an S x S grid over the box that the object covers, 0 to 255,
            or None.
        class_names: G strings, the class name of each object.
        image_size: (h, w) of the image.

    Raises:
        ValueError: a field has the wrong shape or dtype, or the lengths differ; the message names the field.

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

    def __repr__(self) -> str:
        counts = Counter(self.class_names).most_common()
        classes = f": {', '.join(f'{count} {name}' for name, count in counts)}" if counts else ""
        height, width = self.image_size
        return f"GroundTruth({_counted(len(self))}{classes}, image {height} x {width})"

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray) -> GroundTruth:
        """Selects objects by an index, slice, list of indices or bool mask; always returns a `GroundTruth`."""
        index = _checked_index(index, len(self))
        names = tuple(np.array(self.class_names, dtype=object)[index])
        masks = None if self.masks is None else self.masks[index]
        return GroundTruth(self.boxes[index], self.labels[index], masks, names, self.image_size)

    def mask_patches(self) -> Iterator[MaskPatch]:
        """Gives each mask as the part of the image that its box covers.

        A pixel belongs to the object if the coverage, interpolated at the pixel's centre, is above one half.

        Returns:
            Iterator of (y, x, patch); patch is bool, and its place is
            image[y : y + patch.shape[0], x : x + patch.shape[1]].

        Raises:
            ValueError: the ground truth was read without masks.
        """
        return mask_pasting.patches(self._grids(), 0.5)

    def paste_masks(self) -> np.ndarray:
        """Returns the masks at the size of the image: bool [G, h, w].

        Raises:
            ValueError: the ground truth was read without masks.
        """
        return mask_pasting.paste(self._grids(), len(self), self.image_size, 0.5)

    def _grids(self) -> Iterator[mask_pasting.Grid]:
        if self.masks is None:
            raise ValueError("GroundTruth.masks is None, so there is nothing to paste; read it with a mask size.")
        return mask_pasting.coverage_grids(self.masks, self.boxes, self.image_size)


def _counted(count: int) -> str:
    """Returns a number of objects in words."""
    return {0: "no objects", 1: "1 object"}.get(count, f"{count} objects")


def _checked_array(name: str, value: object, dtype: type, shape: tuple[int | str, ...]) -> np.ndarray:
    """Returns `value` as a read-only array of `dtype`, or raises ValueError; letters in `shape` match any length."""
    array = np.asarray(value)
    fits = array.ndim == len(shape) and all(
        isinstance(expected, str) or side == expected for side, expected in zip(array.shape, shape)
    )
    if not fits:
        expected = ", ".join(str(part) for part in shape)
        raise ValueError(f"{name} has shape {list(array.shape)}, expected [{expected}].")
    kinds = "iuf" if np.issubdtype(dtype, np.floating) else "iu"
    if array.dtype.kind not in kinds:
        raise ValueError(f"{name} has dtype {array.dtype}, expected {np.dtype(dtype)}.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinite values; every value must be finite.")
    array = array.astype(dtype)  # a copy, so that no other code can change a frozen record
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
    """Returns an index that keeps the axis of the objects: integers become lists, and an empty list selects nothing."""
    if isinstance(index, slice):
        return index
    array = np.asarray(index)
    if array.ndim == 0 and array.dtype.kind in "iu":
        return np.arange(count)[int(array), None]
    return array.astype(np.int64) if array.size == 0 else array
