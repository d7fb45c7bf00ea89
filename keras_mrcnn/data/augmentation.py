"""Augmentation of training images: its settings, and its random choices for one image in one epoch.

`flip`, several sizes and `scale_jitter` need only boxes and compact masks. `crop`, `rotation` and `copy_paste` start
from the fine masks (`augmentation_objects`), so that boxes and masks stay exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.batching import LARGEST_SEED

ALGORITHM = "philox"  # the same numbers on every machine
NUM_DRAWS = 11

class DrawnAugmentation(NamedTuple):
    """The random choices for one image in one epoch, as values to apply; all are tensors.

    Attributes:
        row: int64 [], row of the image in the data set.
        seeds: int32 [2], seeds of later stateless random functions.
        min_size: int32 [], short side after the resize, pixels.
        flip: bool [], whether the image is mirrored left to right.
        jitter: float64 [], factor on the size after the resize.
        angle: float64 [], rotation in degrees, counter-clockwise as seen.
        place: float64 [2], (x, y) in [0, 1), place of the crop, or of a smaller image on a larger canvas.
        colours: float32 [3], factors on brightness, contrast and saturation.
        pastes: bool [], whether objects of another image are pasted onto this one.
        paste_row: int64 [], row of that image.
    """

    row: tf.Tensor
    seeds: tf.Tensor
    min_size: tf.Tensor
    flip: tf.Tensor
    jitter: tf.Tensor
    angle: tf.Tensor
    place: tf.Tensor
    colours: tf.Tensor
    pastes: tf.Tensor
    paste_row: tf.Tensor


@dataclass(frozen=True)
class Augmentation:
    """Settings of the random augmentation of training images.

    Args:
        flip: probability of mirroring an image left to right.
        scale_jitter: (lowest, highest) factor on the size of the image, drawn uniformly; (1, 1) for none.
        crop: whether to crop an image that the jitter enlarged back to the size without jitter, at a random place;
            with scale_jitter (0.1, 2.0) this is large-scale jitter.
        rotation: degrees; images are rotated about their centre by an angle drawn uniformly from
            -rotation..rotation.
        colour_jitter: brightness, contrast and saturation are each multiplied by a factor drawn uniformly from
            1 - colour_jitter..1 + colour_jitter.
        copy_paste: probability of pasting some of the objects of another image onto this one.

    Raises:
        ValueError: a setting is out of range; the message names it.

    Example:
        >>> Augmentation(scale_jitter=(0.1, 2.0), crop=True).moves_outlines
        True

    Reference:
        Ghiasi et al., Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation, 2021,
        section 3 (large-scale jitter, copy-paste).
    """

    flip: float = 0.5
    scale_jitter: tuple[float, float] = (1.0, 1.0)
    crop: bool = False
    rotation: float = 0.0
    colour_jitter: float = 0.0
    copy_paste: float = 0.0

    def __post_init__(self) -> None:
        """Checks every setting."""
        for name in ("flip", "copy_paste"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is {getattr(self, name)}; it is a probability, from 0 to 1")
        if len(self.scale_jitter) != 2 or not 0 < self.scale_jitter[0] <= self.scale_jitter[1] < float("inf"):
            raise UserError(f"scale_jitter is {self.scale_jitter}; it must be (lowest, highest), both positive")
        if not 0 <= self.rotation <= 180:
            raise UserError(f"rotation is {self.rotation}; it is the largest angle in degrees, from 0 to 180")
        if not 0 <= self.colour_jitter <= 1:
            raise UserError(f"colour_jitter is {self.colour_jitter}; it is a strength, from 0 to 1")

    @property
    def moves_outlines(self) -> bool:
        """Returns whether boxes and compact masks must be made again from the annotated outlines."""
        return bool(self.crop or self.rotation or self.copy_paste)

    def draw(
        self,
        seed: int,
        epoch: tf.Tensor,
        row: tf.Tensor,
        min_sizes: Sequence[int],
        num_images: int = 1,
        pasted: bool = False,
    ) -> DrawnAugmentation:
        """Draws the augmentation of one image in one epoch; the result depends on the arguments alone.

        Args:
            seed: seed of the run.
            epoch: int64 [], number of the epoch.
            row: int64 [], row of the image in the data set.
            min_sizes: short sides to choose from, pixels.
            num_images: number of images in the data set, from which `copy_paste` chooses.
            pasted: whether to draw for the image whose objects are pasted onto this one.

        Returns:
            The choices for the image.
        """
        key = tf.constant([seed % LARGEST_SEED, int(pasted)], tf.int64)
        for number in (epoch, row):
            key = tf.random.experimental.stateless_fold_in(key, number, alg=ALGORITHM)
        draws = tf.random.stateless_uniform([NUM_DRAWS], key, dtype=tf.float64, alg=ALGORITHM)
        flip, jitter, size, angle, x, y, paste, paste_row, *colours = tf.unstack(draws)
        low, high = self.scale_jitter
        return DrawnAugmentation(
            row=row,
            seeds=tf.random.stateless_uniform([2], key, 0, LARGEST_SEED, tf.int32, alg=ALGORITHM),
            min_size=tf.gather(tf.constant(min_sizes, tf.int32), tf.cast(size * len(min_sizes), tf.int32)),
            flip=flip < self.flip,
            jitter=low + (high - low) * jitter,
            angle=self.rotation * (2 * angle - 1),
            place=tf.stack([x, y]),
            colours=tf.cast(1 + self.colour_jitter * (2 * tf.stack(colours) - 1), tf.float32),
            pastes=paste < self.copy_paste,
            paste_row=tf.cast(paste_row * num_images, tf.int64),
        )
