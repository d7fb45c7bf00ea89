"""Draws one generated scene: a background, distractors and objects from back to front, and noise.

`draw_scene` is public through `keras_mrcnn.scenes.generator`.

Shapes: H and W height and width in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from keras_mrcnn.scenes.backgrounds import draw_background, draw_distractor, paint
from keras_mrcnn.scenes.creatures import bird, flying_bird, four_legged, sitting, standing, walking
from keras_mrcnn.scenes.shapes import Sprite, rasterise
from keras_mrcnn.scenes.vehicles import bicycle, bus, car, truck

SHAPES = {  # function that draws each subtype of each category; categories are in the order of their COCO ids
    "vehicle": {"car": car, "bus": bus, "truck": truck, "bicycle": bicycle},
    "person": {"standing": standing, "walking": walking, "sitting": sitting},
    "animal": {"four_legged": four_legged, "bird": bird, "flying_bird": flying_bird},
}
MAX_OBJECTS = 10
MIN_SIDE, MAX_SIDE = 16, 200  # longer side of an object's box, pixels
MAX_HIDDEN = 0.6  # greatest share of an object that others may cover or that may lie outside the image
MAX_CUT = 0.35  # greatest share that may lie outside the image


@dataclass(frozen=True)
class SceneObject:
    """One object of a generated scene.

    Args:
        mask: bool [H, W], visible pixels.
        category: key of `SHAPES`: "vehicle", "person" or "animal".
        subtype: shape within the category, such as "bus" or "sitting".
        hidden: share of the silhouette that is covered or outside the image, 0..0.6.
    """

    mask: np.ndarray
    category: str
    subtype: str
    hidden: float


@dataclass
class _Placed:
    """An object of a scene that is being drawn."""

    mask: np.ndarray  # bool [H, W], pixels that are still visible
    area: int  # pixels of the whole silhouette
    category: str
    subtype: str

    def hidden(self, mask: np.ndarray | None = None) -> float:
        """Returns the share of the silhouette outside its visible pixels, or outside `mask`."""
        return 1.0 - np.count_nonzero(self.mask if mask is None else mask) / self.area


def draw_scene(
    rng: np.random.Generator, height_range: Sequence[int] = (224, 288), width_range: Sequence[int] = (224, 288)
) -> tuple[np.ndarray, list[SceneObject]]:
    """Draws one scene in memory.

    Args:
        rng: NumPy random generator; the scene depends on its state and the two ranges alone.
        height_range, width_range: (least, greatest) image side in pixels, both included, at least 64.

    Returns:
        image: uint8 [H, W, 3], RGB.
        objects: list of 1 to 10 `SceneObject`, back to front; their masks do not overlap.

    Example:
        >>> image, objects = draw_scene(np.random.default_rng(0))
        >>> 1 <= len(objects) <= 10
        True
    """
    height = int(rng.integers(height_range[0], height_range[1] + 1))
    width = int(rng.integers(width_range[0], width_range[1] + 1))
    image = draw_background(rng, height, width)
    for _ in range(int(rng.integers(0, 8))):
        _add_distractor(rng, image, None)
    placed = []
    for _ in range(int(rng.integers(1, MAX_OBJECTS + 1))):
        _add_object(rng, image, placed)
        if rng.random() < 0.1:
            _add_distractor(rng, image, placed)
    while not placed:
        _add_object(rng, image, placed)
    objects = [SceneObject(item.mask, item.category, item.subtype, float(item.hidden())) for item in placed]
    return _finish(rng, image), objects


def _finish(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Adds a slight blur and sensor noise: uint8 [H, W, 3]."""
    picture = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
    picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.0, 0.6)))
    noise = rng.normal(0.0, rng.uniform(1.0, 6.0), image.shape).astype(np.float32)
    return np.clip(np.asarray(picture) + noise + 0.5, 0, 255).astype(np.uint8)


def _random_side(rng: np.random.Generator, limit: float) -> float:
    """Returns a log-uniform side of at most `limit`: mostly 24 to 140 pixels, at times down to 16 or up to 200."""
    low, high = [(24, 140), (MIN_SIDE, 24), (140, MAX_SIDE)][rng.choice(3, p=[0.88, 0.06, 0.06])]
    return min(float(np.exp(rng.uniform(np.log(low), np.log(high)))), limit)


def _add_object(rng: np.random.Generator, image: np.ndarray, placed: list[_Placed]) -> None:
    """Draws an object of a random class where it hides no other too much; gives up after some attempts."""
    category = str(rng.choice(list(SHAPES)))
    subtype = str(rng.choice(list(SHAPES[category])))
    limit = 0.95 * min(image.shape[:2])
    for _ in range(4):
        angle = rng.normal(0.0, 0.25 if subtype == "flying_bird" else 0.07)
        sprite = rasterise(
            SHAPES[category][subtype](rng),
            _random_side(rng, limit),
            angle=angle,
            mirror=rng.random() < 0.5,
            stretch=rng.uniform(0.88, 1.14),
        )
        if not MIN_SIDE <= _longer_side(sprite.mask) <= MAX_SIDE:
            continue
        margin = 0.3 if rng.random() < 0.2 else 0.0
        crowding = MAX_HIDDEN if rng.random() < 0.4 else 0.08
        for _ in range(10):
            near = placed[int(rng.integers(len(placed)))] if placed and rng.random() < crowding else None
            top, left = _random_corner(rng, image, sprite, margin, near)
            area, cover = int(sprite.mask.sum()), _cover(image, sprite, top, left)
            new = _Placed(cover, area, category, subtype)
            if new.hidden() <= MAX_CUT and _longer_side(cover) >= MIN_SIDE and _hide(placed, cover, crowding):
                placed.append(new)
                paint(rng, image, sprite, top, left)
                return


def _add_distractor(rng: np.random.Generator, image: np.ndarray, placed: list[_Placed] | None) -> None:
    """Draws a shape of no class; if `placed` is given, only where it hides none of these objects too much."""
    side = np.exp(rng.uniform(np.log(10), np.log(160 if placed is None else 90)))
    sprite = rasterise(draw_distractor(rng), side, angle=rng.uniform(0, 2 * np.pi))
    top, left = _random_corner(rng, image, sprite, 0.5)
    if placed is None or _hide(placed, _cover(image, sprite, top, left), MAX_HIDDEN):
        paint(rng, image, sprite, top, left)


def _random_corner(
    rng: np.random.Generator, image: np.ndarray, sprite: Sprite, margin: float, near: _Placed | None = None
) -> list[int]:
    """Returns a random place for a sprite, (top, left).

    Up to the share `margin` of its sides may lie outside the image. With `near` its box touches that object's box.
    """
    corner = []
    for axis, own in enumerate(sprite.mask.shape):
        low, high = -int(margin * own), image.shape[axis] - own + int(margin * own)
        low, high = min(low, high), max(low, high)
        if near is not None:
            span = np.flatnonzero(near.mask.any(axis=1 - axis))
            first, last = int(span[0]) - own, int(span[-1])  # the boxes touch between these two
            low, high = max(low, min(first, high)), min(high, max(last, low))
        corner.append(int(rng.integers(low, high + 1)))
    return corner


def _cover(image: np.ndarray, sprite: Sprite, top: int, left: int) -> np.ndarray:
    """Returns the pixels of the image that a sprite at this place covers: bool [H, W]."""
    height, width = sprite.mask.shape
    cover = np.zeros(image.shape[:2], bool)
    rows, columns = max(top, 0), max(left, 0)
    target = cover[rows : top + height, columns : left + width]
    target[...] = sprite.mask[rows - top :, columns - left :][: target.shape[0], : target.shape[1]]
    return cover


def _hide(placed: list[_Placed], cover: np.ndarray, crowding: float) -> bool:
    """Hides the pixels `cover` of the objects unless that hides one of them too much; returns whether it did.

    `crowding` is the greatest share of an object that `cover` may hide in addition to its hidden share.
    """
    left_over = []
    for item in placed:
        mask = item.mask & ~cover
        hidden = item.hidden(mask)
        if hidden > MAX_HIDDEN or hidden - item.hidden() > crowding or _longer_side(mask) < MIN_SIDE:
            return False
        left_over.append(mask)
    for item, mask in zip(placed, left_over):
        item.mask = mask
    return True


def _longer_side(mask: np.ndarray) -> int:
    """Returns the longer side of a mask's box in pixels, or 0 for an empty mask."""
    sides = [np.flatnonzero(mask.any(axis=axis)) for axis in (0, 1)]
    return max((int(side[-1] - side[0]) + 1 for side in sides if len(side)), default=0)
