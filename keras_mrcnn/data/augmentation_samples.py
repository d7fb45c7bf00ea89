"""The part of a sample that NumPy makes: what is read, where it goes, and the ground truth there.

The pixels follow in TensorFlow (`pipeline`), which resizes, or warps by the map that was chosen here, then pastes and
mirrors. So all here is before the mirroring.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.augmentation import DrawnAugmentation
from keras_mrcnn.data.augmentation_maps import inverse_map, jittered_size, placed_map
from keras_mrcnn.data.augmentation_objects import (
    LEAST_VISIBLE,
    Silhouette,
    cover,
    covered_pixels,
    fill_outline,
    is_degenerate,
    silhouette_mask,
    visible_box,
)
from keras_mrcnn.data.coco import CocoDataset

# What of a sample comes out of NumPy; None stands for a size that differs, "S" for that of the compact masks.
FIELDS: dict[str, tuple[tf.DType, list]] = {
    "image": (tf.uint8, [None, None, "C"]),
    "size": (tf.int32, [2]),  # (h, w) that the image gets
    "source_map": (tf.float64, [2, 3]),  # pixels of the sample -> pixels of the image
    "colours": (tf.float32, [3]),
    "boxes": (tf.float32, [None, 4]),
    "labels": (tf.int32, [None]),
    "masks": (tf.uint8, [None, "S", "S"]),
    "dropped": (tf.int32, []),
    "image_id": (tf.int64, []),
    "seeds": (tf.int32, [2]),
    "flip": (tf.bool, []),
    "pasted_image": (tf.uint8, [None, None, "C"]),
    "pasted_map": (tf.float64, [2, 3]),
    "pasted_colours": (tf.float32, [3]),
    "covered": (tf.bool, [None, None]),  # pixels of the sample that show the pasted image; [0, 0] for none
}
_NO_MAP = np.array([[1.0, 0, 0], [0, 1, 0]])


def sample_size(dataset: CocoDataset, drawn: DrawnAugmentation, max_size: int, crop: bool = False) -> tuple[int, int]:
    """(h, w) of the sample that a drawn of an image gives; nothing is read for it.

    Args:
        dataset, drawn, max_size, crop: as for `resized_sample` and `mapped_sample`.
    """
    size = dataset.image_sizes[drawn.index].tolist()
    jittered = jittered_size(size, drawn.min_size, max_size, drawn.jitter)
    if not crop:
        return jittered
    height, width = map(min, jittered, jittered_size(size, drawn.min_size, max_size, 1.0))
    return height, width


def resized_sample(dataset: CocoDataset, drawn: DrawnAugmentation, max_size: int, mask_size: int) -> dict[str, Any]:
    """Makes a sample whose image is resized as a whole.

    Args:
        dataset: images and annotations.
        drawn: how the image is shown.
        max_size: limit of the long side before the jitter, pixels.
        mask_size: side of the compact masks, S; 0 for none.

    Returns:
        dict of arrays with the names and types of `FIELDS`; degenerate objects are left out and counted.

    Raises:
        ValueError: a file or an annotation cannot be used; it is named.
    """
    image_id = dataset.image_ids[drawn.index]
    truth = dataset.ground_truth(image_id, mask_size)
    image = dataset.load_image(image_id)
    size = sample_size(dataset, drawn, max_size)
    ratio = np.array(size, np.float32) / np.array(image.shape[:2], np.float32)
    boxes = truth.boxes * ratio[[1, 0, 1, 0]]
    masks = np.zeros((len(truth), 0, 0), np.uint8) if truth.masks is None else truth.masks
    kept = ~is_degenerate(boxes)
    return _sample(dataset, drawn, image, size, _NO_MAP, boxes[kept], truth.labels[kept], masks[kept], np.sum(~kept))


def mapped_sample(
    dataset: CocoDataset, drawn: DrawnAugmentation, max_size: int, mask_size: int, crop: bool
) -> dict[str, Any]:
    """A sample whose image may be cut, turned, and have objects of another one pasted onto it.

    Args:
        dataset, drawn, max_size, mask_size: as for `resized_sample`.
        crop: whether what the jitter made larger is cut back to the size without jitter.

    Returns:
        dict of arrays with the names and types of `FIELDS`; degenerate objects are left out and counted.

    Raises:
        ValueError: a file or an annotation cannot be used; it is named.
    """
    canvas = sample_size(dataset, drawn, max_size, crop)
    own = _place_on_canvas(dataset, drawn, max_size, canvas)
    silhouettes, labels, pasted = own.silhouettes, own.labels, {}
    if drawn.pasted is not None:
        other = _place_on_canvas(dataset, drawn.pasted, max_size, canvas, pasted=True)
        covered = covered_pixels(other.silhouettes, canvas)
        silhouettes = [_uncovered_part(silhouette, covered) for silhouette in silhouettes] + other.silhouettes
        labels = np.concatenate([labels, other.labels])
        pasted = {
            "pasted_image": other.image,
            "pasted_map": inverse_map(other.matrix),
            "pasted_colours": np.array(drawn.pasted.colours, np.float32),
            "covered": covered,
        }
    boxes = [None if silhouette is None else visible_box(silhouette) for silhouette in silhouettes]
    kept = [row for row, box in enumerate(boxes) if box is not None]
    masks = [silhouette_mask(silhouettes[row], boxes[row], mask_size) for row in kept if mask_size]
    return _sample(
        dataset,
        drawn,
        own.image,
        canvas,
        inverse_map(own.matrix),
        np.array([boxes[row] for row in kept], np.float32).reshape(-1, 4),
        labels[kept],
        np.array(masks, np.uint8).reshape(len(kept), mask_size, mask_size),
        len(boxes) - len(kept),
        **pasted,
    )


def field_shape(name: str, channels: int, mask_size: int) -> list[int | None]:
    """Returns the shape of one of `FIELDS` for pictures with so many channels and masks of that side."""
    return [{"C": channels, "S": mask_size}.get(side, side) for side in FIELDS[name][1]]


def empty_sample(channels: int, mask_size: int) -> dict[str, np.ndarray]:
    """Makes the smallest thing with the types of `FIELDS`, for a pipeline that is being shut down."""
    shapes = {name: field_shape(name, channels, mask_size) for name in FIELDS}
    return {
        name: np.ones([1 if side is None else side for side in shapes[name]], dtype.as_numpy_dtype)
        for name, (dtype, _) in FIELDS.items()
    }


class _PlacedImage(NamedTuple):
    """An image on a canvas, with its objects there."""

    image: np.ndarray
    matrix: np.ndarray
    silhouettes: list[Silhouette]
    labels: np.ndarray


def _place_on_canvas(
    dataset: CocoDataset, drawn: DrawnAugmentation, max_size: int, canvas: tuple[int, int], pasted: bool = False
) -> _PlacedImage:
    """Lays an image on a canvas; of one that is to be pasted only some objects count."""
    image_id = dataset.image_ids[drawn.index]
    truth = dataset.ground_truth(image_id, mask_size=0)
    image = dataset.load_image(image_id)
    size = image.shape[:2]
    new_size = jittered_size(size, drawn.min_size, max_size, drawn.jitter)
    # The sample as a whole is mirrored in the end.
    matrix = placed_map(size, new_size, canvas, drawn.place, drawn.angle, mirrored=pasted and drawn.flip)
    chosen = _choose(len(truth), drawn.seeds) if pasted else range(len(truth))
    annotations = dataset.annotations(image_id)
    silhouettes = []
    for row in chosen:
        try:
            outline = _outline(dataset, annotations[row], size)
            silhouettes.append(fill_outline(outline, truth.boxes[row].astype(float), matrix, size, canvas))
        except Exception as error:  # pycocotools raises whatever its C code trips over
            raise UserError(
                f"the segmentation of annotation {annotations[row]['id']} of image "
                f"{dataset.image_path(image_id).name} cannot be used; correct it, or leave it out with --skip-bad"
            ) from error
    return _PlacedImage(image, matrix, silhouettes, truth.labels[list(chosen)])


def _choose(count: int, seeds: np.ndarray) -> list[int]:
    """Rows of a random number, at least one, of `count` objects."""
    random = np.random.default_rng(seeds)
    return random.permutation(count)[: random.integers(1, count + 1)].tolist() if count else []


def _outline(dataset: CocoDataset, annotation: dict, image_size: tuple[int, int]) -> list[np.ndarray] | np.ndarray:
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, list):
        return [np.array(polygon, np.float64).reshape(-1, 2) for polygon in segmentation]
    mask = dataset.coco.annToMask(annotation)
    if mask.shape != image_size:
        raise ValueError("the mask has another size than the image")
    return mask


def _uncovered_part(silhouette: Silhouette, covered: np.ndarray) -> Silhouette | None:
    """The silhouette without what is covered, or None where too little of it is left."""
    left_over = cover(silhouette, covered)
    return left_over if left_over.area >= LEAST_VISIBLE * silhouette.area else None


def _sample(dataset, drawn, image, size, source_map, boxes, labels, masks, dropped, **pasted) -> dict[str, Any]:
    return {
        "image": image,
        "size": np.array(size, np.int32),
        "source_map": source_map,
        "colours": np.array(drawn.colours, np.float32),
        "boxes": boxes,
        "labels": labels,
        "masks": masks,
        "dropped": np.int32(dropped),
        "image_id": np.int64(dataset.image_ids[drawn.index]),
        "seeds": drawn.seeds,
        "flip": np.bool_(drawn.flip),
        "pasted_image": np.zeros((1, 1, dataset.channels), np.uint8),
        "pasted_map": _NO_MAP,
        "pasted_colours": np.ones(3, np.float32),
        "covered": np.zeros((0, 0), bool),
        **pasted,
    }
