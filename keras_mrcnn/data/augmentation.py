"""Augmentation of training images: its settings, and its random choices for one image in one epoch.

`flip`, several sizes and `scale_jitter` need only boxes and compact masks. `crop`, `rotation` and `copy_paste` start
from the annotated outlines (`augmentation_objects`), so that boxes and masks stay exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.batching import PlannedSample, SampleDraws, draw_sample


class DrawnAugmentation(NamedTuple):
    """The random choices for one image in one epoch, as values to apply.

    Attributes:
        index: row of the image in the data set.
        seeds: int32 [2], seeds of later stateless random functions.
        min_size: short side after the resize, pixels.
        flip: whether the image is mirrored left to right.
        jitter: factor on the size after the resize.
        angle: rotation in degrees, counter-clockwise as seen.
        place: (x, y) in [0, 1), place of the crop, or of a smaller image on a larger canvas.
        colours: factors on brightness, contrast and saturation.
        pasted: choices for the image whose objects are pasted onto this one, or None.
    """

    index: int
    seeds: np.ndarray
    min_size: int
    flip: bool = False
    jitter: float = 1.0
    angle: float = 0.0
    place: tuple[float, float] = (0.0, 0.0)
    colours: tuple[float, float, float] = (1.0, 1.0, 1.0)
    pasted: DrawnAugmentation | None = None


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

    def draw(self, seed: int, sample: PlannedSample, min_sizes: Sequence[int], num_images: int) -> DrawnAugmentation:
        """Draws the augmentation of one image in one epoch; the result depends on the arguments alone.

        Args:
            seed: seed of the run.
            sample: the image and the epoch.
            min_sizes: short sides to choose from, pixels.
            num_images: number of images in the data set, from which `copy_paste` chooses.

        Returns:
            The choices for the image.
        """
        draws = draw_sample(seed, sample)
        drawn = self._draw(sample.index, draws, min_sizes)
        if draws.paste >= self.copy_paste:
            return drawn
        draws = draw_sample(seed, sample, pasted=True)
        return drawn._replace(pasted=self._draw(int(draws.paste * num_images), draws, min_sizes))

    def _draw(self, index: int, draws: SampleDraws, min_sizes: Sequence[int]) -> DrawnAugmentation:
        """Turns numbers in [0, 1) into choices within these settings; pastes nothing."""
        low, high = self.scale_jitter
        return DrawnAugmentation(
            index=index,
            seeds=draws.seeds,
            min_size=min_sizes[int(draws.size * len(min_sizes))],
            flip=draws.flip < self.flip,
            jitter=low + (high - low) * draws.jitter,
            angle=self.rotation * (2 * draws.angle - 1),
            place=draws.place,
            colours=tuple(1 + self.colour_jitter * (2 * draw - 1) for draw in draws.colours),
        )


def augmentation_settings(data: Any, model: Any) -> dict[str, Any]:
    """Returns the settings of a run that decide how training images look.

    Args:
        data: `data` part of a `Config`.
        model: `model` part of the same `Config`.

    Returns:
        Dict of keyword arguments, as in `training_dataset(..., **augmentation_settings(config.data, config.model))`.
    """
    sizes = {
        "min_size": data.min_sizes or model.min_size,
        "max_size": max(model.max_size, *(data.min_sizes or (0,))),
    }
    return {**sizes, **{field.name: getattr(data, field.name) for field in fields(Augmentation)}}
