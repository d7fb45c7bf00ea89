"""The part of a sample that NumPy makes: the decoded image, its place on the canvas, and the ground truth there.

TensorFlow makes the pixels (`pipeline`): it resizes the image, or warps it by the map chosen here, then pastes and
mirrors. So everything here precedes the mirroring.
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

# Fields that NumPy makes for a sample. None is a variable side, "C" the channels, "S" the side of compact masks.
FIELDS: dict[str, tuple[tf.DType, list]] = {
    "image": (tf.uint8, [None, None, "C"]),
    "size": (tf.int32, [2]),  # (h, w) of the image after the resize
    "source_map": (tf.float64, [2, 3]),  # from pixels of the sample to pixels of the image
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
    "covered": (tf.bool, [None, None]),  # pixels of the sample that show the pasted image; [0, 0] without one
}
_NO_MAP = np.array([[1.0, 0, 0], [0, 1, 0]])


def sample_size(dataset: CocoDataset, drawn: DrawnAugmentation, max_size: int, crop: bool = False) -> tuple[int, int]:
    """Returns the size of a sample without reading its image.

    Args:
        dataset, drawn, max_size, crop: as for `resized_sample` and `mapped_sample`.

    Returns:
        (h, w) of the sample.
    """
    size = dataset.image_sizes[drawn.index].tolist()
    jittered = jittered_size(size, drawn.min_size, max_size, drawn.jitter)
    if not crop:
        return jittered
    height, width = map(min, jittered, jittered_size(size, drawn.min_size, max_size, 1.0))
    return height, width


def resized_sample(dataset: CocoDataset, drawn: DrawnAugmentation, max_size: int, mask_size: int) -> dict[str, Any]:
    """Makes a sample whose image is only resized.

    Args:
        dataset: images and annotations.
        drawn: random choices for the image.
        max_size: limit of the long side before the jitter, pixels.
        mask_size: side of the compact masks, S; 0 for none.

    Returns:
        Dict of arrays with the names and types of `FIELDS`; degenerate objects are dropped and counted.

    Raises:
        ValueError: a file or an annotation cannot be used; the message names it.
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
    """Makes a sample whose image may be cropped, rotated, and have objects of another image pasted onto it.

    Args:
        dataset, drawn, max_size, mask_size: as for `resized_sample`.
        crop: whether an image that the jitter enlarged is cropped to the size without jitter.

    Returns:
        Dict of arrays with the names and types of `FIELDS`; degenerate objects are dropped and counted.

    Raises:
        ValueError: a file or an annotation cannot be used; the message names it.
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
    """Returns the shape of one of `FIELDS` for pictures with `channels` channels and masks of side `mask_size`."""
    return [{"C": channels, "S": mask_size}.get(side, side) for side in FIELDS[name][1]]


def empty_sample(channels: int, mask_size: int) -> dict[str, np.ndarray]:
    """Returns the smallest arrays with the types of `FIELDS`, for a pipeline that is shutting down."""
    shapes = {name: field_shape(name, channels, mask_size) for name in FIELDS}
    return {
        name: np.ones([1 if side is None else side for side in shapes[name]], dtype.as_numpy_dtype)
        for name, (dtype, _) in FIELDS.items()
    }


class _PlacedImage(NamedTuple):
    """An image, its map to a canvas, and its objects on that canvas."""

    image: np.ndarray
    matrix: np.ndarray
    silhouettes: list[Silhouette]
    labels: np.ndarray


def _place_on_canvas(
    dataset: CocoDataset, drawn: DrawnAugmentation, max_size: int, canvas: tuple[int, int], pasted: bool = False
) -> _PlacedImage:
    """Reads an image and places it on a canvas; takes only some of its objects if they are to be pasted."""
    image_id = dataset.image_ids[drawn.index]
    truth = dataset.ground_truth(image_id, mask_size=0)
    image = dataset.load_image(image_id)
    size = image.shape[:2]
    new_size = jittered_size(size, drawn.min_size, max_size, drawn.jitter)
    # The sample is mirrored as a whole at the end, but a pasted image has a flip of its own.
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
    """Returns a random selection of the rows of `count` objects, at least one row."""
    random = np.random.default_rng(seeds)
    return random.permutation(count)[: random.integers(1, count + 1)].tolist() if count else []


def _outline(dataset: CocoDataset, annotation: dict, image_size: tuple[int, int]) -> list[np.ndarray] | np.ndarray:
    """Returns the outline of an annotation as polygons or as a mask of the image's size."""
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, list):
        return [np.array(polygon, np.float64).reshape(-1, 2) for polygon in segmentation]
    mask = dataset.coco.annToMask(annotation)
    if mask.shape != image_size:
        raise ValueError("the mask has another size than the image")
    return mask


def _uncovered_part(silhouette: Silhouette, covered: np.ndarray) -> Silhouette | None:
    """Returns a silhouette without its covered pixels, or None if less than `LEAST_VISIBLE` of it is left."""
    left_over = cover(silhouette, covered)
    return left_over if left_over.area >= LEAST_VISIBLE * silhouette.area else None


def _sample(
    dataset: CocoDataset,
    drawn: DrawnAugmentation,
    image: np.ndarray,
    size: tuple[int, int],
    source_map: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    masks: np.ndarray,
    dropped: int,
    **pasted: np.ndarray,
) -> dict[str, Any]:
    """Returns the fields of a sample; `pasted` overrides those that mean "no pasted image"."""
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
