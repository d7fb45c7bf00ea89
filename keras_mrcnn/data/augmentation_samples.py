"""Makes samples: reads an image with its objects, and resizes, crops, rotates, pastes, mirrors and colours it.

A sample is one row of a batch as `pipeline` describes it. Everything here is TensorFlow operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import tensorflow as tf

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.config import Config
from keras_mrcnn.data import transforms
from keras_mrcnn.data.augmentation import Augmentation, DrawnAugmentation
from keras_mrcnn.data.augmentation_maps import inverse_map, jittered_size, placed_corner, placed_map
from keras_mrcnn.data.augmentation_objects import LEAST_SIDE, covered_pixels, visible_objects
from keras_mrcnn.data.prepared import PreparedDataset
from keras_mrcnn.ops import images

Fields = dict[str, tf.Tensor]
OBJECT_FIELDS = ("boxes", "labels", "masks", "frames", "starts")


@dataclass(frozen=True)
class Sampling:
    """How images become samples.

    Args:
        min_size: short side after the resize, pixels; of several, one is drawn for each image.
        max_size: limit of the long side before the jitter, pixels.
        with_masks: whether samples have compact masks.
        seed: seed of the random choices.
        augmentation: settings of the augmentation; by default none.

    Raises:
        ValueError: a size is out of range.
    """

    min_size: int | Sequence[int]
    max_size: int
    with_masks: bool = True
    seed: int = 0
    augmentation: Augmentation = field(default_factory=lambda: Augmentation(flip=0.0))

    def __post_init__(self) -> None:
        """Checks the sizes."""
        if not self.min_sizes or min(self.min_sizes) < 1:
            raise UserError(f"min_size is {self.min_size}; it must be one positive number of pixels, or several")
        if self.max_size < max(self.min_sizes):
            raise UserError(f"max_size is {self.max_size}, less than min_size {max(self.min_sizes)}; raise it")

    @classmethod
    def of(cls, config: Config, with_masks: bool = True) -> Sampling:
        """Returns how the training images of a run become samples."""
        data, model = config.data, config.model
        augmentation = Augmentation(**{setting.name: getattr(data, setting.name) for setting in fields(Augmentation)})
        max_size = max(model.max_size, *(data.min_sizes or (0,)))
        return cls(data.min_sizes or model.min_size, max_size, with_masks, config.train.seed, augmentation)

    @property
    def min_sizes(self) -> tuple[int, ...]:
        """Returns the short sides to choose from."""
        return (self.min_size,) if isinstance(self.min_size, int) else tuple(self.min_size)

    def draw(self, dataset: PreparedDataset, place: tf.Tensor, pasted: bool = False) -> DrawnAugmentation:
        """Returns the random choices for one image in one epoch.

        Args:
            dataset: the images.
            place: int64 [2], epoch and row in the data set.
            pasted: as for `Augmentation.draw`.
        """
        return self.augmentation.draw(self.seed, place[0], place[1], self.min_sizes, len(dataset), pasted)

    def size(self, dataset: PreparedDataset, place: tf.Tensor) -> tf.Tensor:
        """Returns the size of a sample, without padding, before its image is read: int32 [2], (h, w)."""
        drawn = self.draw(dataset, place)
        old = tf.gather(dataset.size_table, drawn.row)
        jittered = jittered_size(old, drawn.min_size, self.max_size, drawn.jitter)
        if not self.augmentation.crop:
            return jittered
        return tf.minimum(jittered, jittered_size(old, drawn.min_size, self.max_size, tf.ones_like(drawn.jitter)))


def make_sample(dataset: PreparedDataset, place: tf.Tensor, sampling: Sampling) -> Fields:
    """Makes one sample.

    Args:
        dataset: images and objects.
        place: int64 [2], epoch and row in the data set.
        sampling: how.

    Returns:
        Fields of one row of a batch; gt_boxes, gt_labels and gt_masks have at least one row. Degenerate objects are
        dropped and counted.
    """
    drawn, size = sampling.draw(dataset, place), sampling.size(dataset, place)
    source = dataset.sample(drawn.row, fine=sampling.augmentation.moves_outlines)
    make = _mapped if sampling.augmentation.moves_outlines else _resized
    image, objects, dropped = make(dataset, source, drawn, size, place, sampling)
    # An image without objects gets one row of padding, so that no later tensor is empty.
    missing = tf.cast(tf.equal(tf.shape(objects["boxes"])[0], 0), tf.int32)
    return {
        "images": images.pad_to_multiple(image),
        "image_sizes": size,
        "image_ids": source["image_id"],
        "original_sizes": tf.shape(source["image"])[:2],
        "gt_boxes": tf.pad(objects["boxes"], [[0, missing], [0, 0]]),
        "gt_labels": tf.pad(objects["labels"], [[0, missing]], constant_values=-1),
        "gt_masks": tf.pad(objects["masks"], [[0, missing], [0, 0], [0, 0]]),
        "seeds": drawn.seeds,
        "dropped": dropped,
    }


def _resized(
    dataset: PreparedDataset, source: Fields, drawn: DrawnAugmentation, size: tf.Tensor, place: tf.Tensor,
    sampling: Sampling,
) -> tuple[tf.Tensor, Fields, tf.Tensor]:  # fmt: skip
    """Returns the resized and mirrored image, its objects, and how many were dropped."""
    masks = source["masks"] if sampling.with_masks else source["masks"][:, :0, :0]
    # Mirrored first, while the image is small: it is copied.
    image, boxes, masks = _mirrored(source["image"], source["boxes"], masks, drawn)
    boxes = images.scale_boxes(boxes, tf.shape(image)[:2], size)
    kept = tf.reduce_all(boxes[:, 2:] - boxes[:, :2] >= LEAST_SIDE, axis=1)
    objects = {"boxes": boxes[kept], "labels": source["labels"][kept], "masks": masks[kept]}
    resized = images.resize_to(_coloured(image, drawn, sampling), size)
    return resized, objects, tf.math.count_nonzero(~kept, dtype=tf.int32)


def _mapped(
    dataset: PreparedDataset, source: Fields, drawn: DrawnAugmentation, size: tf.Tensor, place: tf.Tensor,
    sampling: Sampling,
) -> tuple[tf.Tensor, Fields, tf.Tensor]:  # fmt: skip
    """Returns the cropped, rotated and mirrored image with pasted objects, its objects, and how many were dropped."""
    mask_size, rotated = dataset.mask_size if sampling.with_masks else 0, sampling.augmentation.rotation > 0
    image, matrix = _on_canvas(source["image"], drawn, size, sampling, mirrored=False)

    def own() -> tuple:
        return image, *visible_objects(source, matrix, size, mask_size, rotated=rotated), source["labels"]

    def pasted() -> tuple:
        other_drawn = sampling.draw(dataset, place, pasted=True)._replace(row=drawn.paste_row)
        other = _chosen_objects(dataset.sample(drawn.paste_row, fine=True), other_drawn.seeds)
        # The sample is mirrored as a whole at the end, but a pasted image has a flip of its own.
        other_image, other_map = _on_canvas(other["image"], other_drawn, size, sampling, mirrored=other_drawn.flip)
        covered = covered_pixels(other, other_map, size, rotated)
        below = visible_objects(source, matrix, size, mask_size, covered, rotated)
        above = visible_objects(other, other_map, size, mask_size, rotated=rotated)
        joined = [tf.concat(pair, axis=0) for pair in zip(below, above)]
        labels = tf.concat([source["labels"], other["labels"]], axis=0)
        return tf.where(covered[..., None], other_image, image), *joined, labels

    may_paste = sampling.augmentation.copy_paste > 0
    image, boxes, masks, kept, labels = tf.cond(drawn.pastes, pasted, own) if may_paste else own()
    image, boxes, masks = _mirrored(image, boxes[kept], masks[kept], drawn)
    objects = {"boxes": boxes, "labels": labels[kept], "masks": masks}
    return image, objects, tf.math.count_nonzero(~kept, dtype=tf.int32)


def _mirrored(
    image: tf.Tensor, boxes: tf.Tensor, masks: tf.Tensor, drawn: DrawnAugmentation
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns an image with its boxes and masks, mirrored left to right if that was drawn."""
    return tf.cond(drawn.flip, lambda: transforms.flip(image, boxes, masks), lambda: (image, boxes, masks))


def _on_canvas(
    image: tf.Tensor, drawn: DrawnAugmentation, size: tf.Tensor, sampling: Sampling, mirrored: Any
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns an image on the canvas of the sample, and the map that takes its pixels there, float64 [2, 3]."""
    old = tf.shape(image)[:2]
    new = jittered_size(old, drawn.min_size, sampling.max_size, drawn.jitter)
    matrix = placed_map(old, new, size, drawn.place, drawn.angle, mirrored)
    pixels = _coloured(image, drawn, sampling)
    if sampling.augmentation.rotation:
        return transforms.warp(pixels, inverse_map(matrix), size), matrix
    resized = images.resize_to(pixels, new)
    if mirrored is not False:
        resized = tf.cond(mirrored, lambda: tf.reverse(resized, [1]), lambda: resized)
    return transforms.place(resized, placed_corner(new, size, drawn.place), size), matrix


def _coloured(image: tf.Tensor, drawn: DrawnAugmentation, sampling: Sampling) -> tf.Tensor:
    """Returns an image with changed colours, normalised: float32 [H, W, C]."""
    if sampling.augmentation.colour_jitter:
        image = transforms.change_colours(image, drawn.colours)
    return images.normalise_picture(image)


def _chosen_objects(source: Fields, seeds: tf.Tensor) -> Fields:
    """Returns an image with a random selection of its objects, at least one."""
    count = tf.shape(source["labels"])[0]
    order = tf.random.experimental.stateless_shuffle(tf.range(count), seeds, alg="philox")
    share = tf.random.stateless_uniform([], seeds, alg="philox")
    chosen = order[: tf.cast(share * tf.cast(count, tf.float32), tf.int32) + 1]
    return {**source, **{name: tf.gather(source[name], chosen) for name in OBJECT_FIELDS}}
