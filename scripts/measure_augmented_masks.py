"""Measures how well the compact masks of augmented images hold their objects.

Each image is rotated, cropped or only resized as in training, at 800 pixels. Then the compact masks are pasted back and
compared with full-size masks of the annotations that the same map has taken to the image, sampled at the centres of its
pixels. Objects count whose boxes have sides of 30 pixels and more. The figures are the mean IoU, and the share of the
boxes whose four sides lie within one pixel of those of the full-size mask.

    python scripts/measure_augmented_masks.py coco-mini/annotations/instances_train.json coco-mini/images/train
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_mrcnn.base.records import GroundTruth
from keras_mrcnn.data.augmentation import Augmentation
from keras_mrcnn.data.augmentation_maps import inverse_map, jittered_size, placed_map
from keras_mrcnn.data.augmentation_objects import visible_objects
from keras_mrcnn.data.augmentation_samples import Sampling
from keras_mrcnn.data.prepare import prepare_dataset
from keras_mrcnn.data.prepared import PreparedDataset
from keras_mrcnn.ops.images import scale_boxes

MIN_SIZE, MAX_SIZE = 800, 1333
LEAST_SIDE = 30  # pixels of the box of an object that counts
SETTINGS = {
    "rotation up to 20 degrees": Augmentation(flip=0.0, rotation=20.0),
    "crop, 0.3 to 2.0": Augmentation(flip=0.0, crop=True, scale_jitter=(0.3, 2.0)),
    "plain": Augmentation(flip=0.0),
}


class Comparison(NamedTuple):
    """One object: its compact mask compared with the full-size mask.

    Attributes:
        overlap: IoU of the two masks.
        distance: pixels by which the farthest side of the box lies off.
    """

    overlap: float
    distance: float


def warped_mask(mask: np.ndarray, source_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns a full-size mask of an image file, sampled at the centres of a sample's pixels: bool [h, w]."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    column, row = (np.floor(a * x + b * y + c).astype(int) for a, b, c in source_map)
    inside = (row >= 0) & (column >= 0) & (row < mask.shape[0]) & (column < mask.shape[1])
    return mask[np.where(inside, row, 0), np.where(inside, column, 0)].astype(bool) & inside


def full_masks(data: PreparedDataset, row: int, matrix: tf.Tensor, size: tuple[int, int]) -> list[np.ndarray]:
    """Returns the full-size masks of an image's objects, mapped to a sample."""
    source_map = inverse_map(matrix).numpy()
    annotations = data.annotations(int(data.image_ids[row]))
    return [warped_mask(data.coco.annToMask(annotation), source_map, size) for annotation in annotations]


def compact_objects(
    data: PreparedDataset, row: int, matrix: tf.Tensor, size: tf.Tensor, augmentation: Augmentation
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns boxes, compact masks, and which objects are kept, as `augmentation_samples.make_sample` makes them."""
    fields = data.sample(tf.constant(row, tf.int64), fine=True)
    if augmentation.moves_outlines:
        boxes, masks, kept = visible_objects(fields, matrix, size, data.mask_size)
    else:
        boxes, masks = scale_boxes(fields["boxes"], data.size_table[row], size), fields["masks"]
        kept = tf.ones(len(boxes), tf.bool)
    return boxes.numpy(), masks.numpy(), kept.numpy()


def compare(data: PreparedDataset, row: int, sampling: Sampling) -> Iterator[Comparison]:
    """Gives a comparison for each object of an image that counts."""
    place = tf.constant([0, row], tf.int64)
    drawn, size = sampling.draw(data, place), sampling.size(data, place)
    old = data.size_table[row]
    new = jittered_size(old, drawn.min_size, MAX_SIZE, drawn.jitter)
    matrix = placed_map(old, new, size, drawn.place, drawn.angle, False)
    height_width = tuple(size.numpy().tolist())
    boxes, masks, kept = compact_objects(data, row, matrix, size, sampling.augmentation)
    labels = np.ones(len(boxes), np.int32)
    pasted = GroundTruth(boxes, labels, masks, ("",) * len(boxes), height_width).paste_masks()
    for box, ours, full, is_kept in zip(boxes, pasted, full_masks(data, row, matrix, height_width), kept):
        if is_kept and (box[2:] - box[:2]).min() >= LEAST_SIDE and full.any():
            rows, columns = np.nonzero(full)
            ends = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            yield Comparison((ours & full).sum() / (ours | full).sum(), np.abs(ends - box).max())


def main() -> None:
    """Prints the figures for each kind of augmentation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotation_file")
    parser.add_argument("image_folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = prepare_dataset(arguments.annotation_file, arguments.image_folder, folder)
        for name, augmentation in SETTINGS.items():
            sampling = Sampling(MIN_SIZE, MAX_SIZE, augmentation=augmentation)
            found = [one for row in range(len(data)) for one in compare(data, row, sampling)]
            overlaps, distances = (np.array(column) for column in zip(*found))
            print(
                f"{name:<28}{len(found):>5} objects   mean IoU {overlaps.mean():.4f}   least {overlaps.min():.3f}   "
                f"boxes within 1 px {(distances <= 1).mean():.4f}"
            )


if __name__ == "__main__":
    main()
