"""Colours, textures, backgrounds and distractors of generated scenes.

`paint` paints objects and distractors alike, with colours and textures from the same distribution, so that neither
reveals a class or distinguishes objects from distractors.

Shapes: H and W height and width in pixels, P paints, n points.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from keras_mrcnn.scenes.shapes import Part, Sprite, ellipse, limb, polygon

MIN_CONTRAST = 75.0  # least distance (RGB, each channel 0..255) between a new paint and the mean colour behind it
MIN_PAINT_CONTRAST = 45.0  # least distance between two paints of one object


def random_colour(rng: np.random.Generator) -> np.ndarray:
    """Returns a random colour that is neither very dark nor very bright: float32 [3], RGB, uniform in 15..240."""
    return rng.uniform(15, 240, 3).astype(np.float32)


def texture(rng: np.random.Generator, height: int, width: int, colour: np.ndarray, strength: float) -> np.ndarray:
    """Returns an area of one colour with a random pattern over it.

    Args:
        rng: NumPy random generator.
        height, width: size in pixels.
        colour: float32 [3], RGB 0..255.
        strength: largest distance of the pattern from `colour`, 0..255.

    Returns:
        float32 [H, W, 3]; values may lie a little outside 0..255, and are clipped at the end.
    """
    kind = rng.choice(["plain", "gradient", "stripes", "checks", "noise", "grain", "dots"], p=_PATTERN_SHARES)
    pattern = _pattern(rng, height, width, kind)
    direction = rng.normal(0.0, 0.4, 3) + rng.choice([-1.0, 1.0])
    direction *= strength * rng.uniform(0.4, 1.0) / np.linalg.norm(direction)
    return colour + pattern[..., None] * direction.astype(np.float32)


_PATTERN_SHARES = [0.3, 0.25, 0.1, 0.07, 0.14, 0.07, 0.07]


def _pattern(rng: np.random.Generator, height: int, width: int, kind: str) -> np.ndarray:
    """Returns a random pattern of the given kind: float32 [H, W], about -1..1."""
    if kind == "plain":
        return np.zeros((height, width), np.float32)
    if kind == "grain":
        return rng.uniform(-1, 1, (height, width)).astype(np.float32)
    if kind == "noise":
        cell = rng.uniform(3, 16)
        coarse = rng.uniform(-1.4, 1.4, (int(height / cell) + 2, int(width / cell) + 2)).astype(np.float32)
        return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    y, x = np.mgrid[:height, :width]
    angle = rng.uniform(0, np.pi)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    if kind == "gradient":
        return (2 * (along - along.min()) / max(np.ptp(along), 1.0) - 1).astype(np.float32)
    period = rng.uniform(5, 24)
    first, second = np.sin(along * (2 * np.pi / period)), np.sin(across * (2 * np.pi / period))
    if kind == "stripes":
        pattern = np.clip(first * 3, -1, 1)
    elif kind == "checks":
        pattern = np.clip(first * 3, -1, 1) * np.clip(second * 3, -1, 1)
    else:
        pattern = np.clip(4 * (first * second - 0.4), -1, 1)
    return pattern.astype(np.float32)


def draw_background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draws a background of one textured gradient, or of two that meet at a wavy horizon.

    Args:
        rng: NumPy random generator.
        height, width: size in pixels.

    Returns:
        float32 [H, W, 3], RGB 0..255.
    """
    ground = _backdrop(rng, height, width)
    if rng.random() < 0.4:
        sky = _backdrop(rng, height, width)
        x = np.arange(width) / width
        horizon = rng.uniform(0.2, 0.8) + rng.uniform(-0.15, 0.15) * x
        horizon = horizon + rng.uniform(0, 0.05) * np.sin(x * rng.uniform(3, 20) + rng.uniform(0, 6))
        below = np.arange(height)[:, None] / height > horizon
        ground = np.where(below[..., None], ground, sky)
    return ground


def _backdrop(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Returns a textured gradient between two random colours: float32 [H, W, 3]."""
    first, second = random_colour(rng), random_colour(rng)
    blend = (_pattern(rng, height, width, "gradient")[..., None] + 1) / 2 * np.float32(rng.uniform(0, 0.7))
    base = texture(rng, height, width, np.zeros(3, np.float32), 34.0)
    return base + first * (1 - blend) + second * blend


def draw_distractor(rng: np.random.Generator) -> list[Part]:
    """Returns a shape of no class: one to three polygons, stars, ellipses, bars or zigzags."""
    parts = []
    for index in range(int(rng.choice([1, 1, 1, 2, 3]))):
        centre = np.zeros(2) if index == 0 else rng.uniform(-0.8, 0.8, 2)
        kind = rng.choice(["polygon", "star", "ellipse", "bar", "zigzag"])
        if kind in ("polygon", "star"):
            parts.append(polygon(index, *(_corners(rng, kind) + centre)))
        elif kind == "ellipse":
            radius_x, radius_y = rng.uniform(0.3, 1.0), rng.uniform(0.3, 1.0)
            parts.append(ellipse(index, *centre, radius_x, radius_y, rng.uniform(0, np.pi)))
        else:
            corners = centre + rng.uniform(-1, 1, (2 if kind == "bar" else 4, 2))
            radius = rng.uniform(0.05, 0.16)
            parts += [limb(index, start, end, radius) for start, end in zip(corners[:-1], corners[1:])]
    return parts


def _corners(rng: np.random.Generator, kind: str) -> np.ndarray:
    """Returns the corners of an irregular polygon or a regular star around the origin: float64 [n, 2]."""
    count = int(rng.integers(3, 8))
    if kind == "polygon":
        turn, radius = np.sort(rng.uniform(0, 2 * np.pi, count)), rng.uniform(0.6, 1.0, count)
    else:
        turn, radius = np.arange(2 * count) * np.pi / count, np.tile([1.0, rng.uniform(0.3, 0.7)], count)
    return np.stack([np.cos(turn), np.sin(turn) * rng.uniform(0.5, 1.0)], axis=1) * radius[:, None]


def paint(rng: np.random.Generator, image: np.ndarray, sprite: Sprite, top: int, left: int) -> None:
    """Paints a sprite into an image, in colours that contrast with those behind it.

    Args:
        rng: NumPy random generator.
        image: float32 [H, W, 3], changed in place.
        sprite: sprite to paint; the part outside the image is cut off.
        top, left: row and column of the sprite's first pixel in the image; may be negative.
    """
    height, width = sprite.mask.shape
    rows = slice(max(top, 0), min(top + height, image.shape[0]))
    columns = slice(max(left, 0), min(left + width, image.shape[1]))
    inside = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    target = image[rows, columns]
    behind = target.copy()
    taken = []
    target *= 1 - sprite.coverage.sum(axis=0)[inside][..., None]
    for coverage in sprite.coverage:
        share = coverage[inside][..., None]
        if not share.any():
            continue
        colour = _contrasting_colour(rng, (behind * share).sum(axis=(0, 1)) / share.sum(), taken)
        taken.append(colour)
        target += texture(rng, height, width, colour, 40.0)[inside] * share


def _contrasting_colour(rng: np.random.Generator, behind: np.ndarray, taken: list[np.ndarray]) -> np.ndarray:
    """Returns a random colour that differs enough from `behind` and from all `taken`, if one of ten draws does."""
    for _ in range(10):
        colour = random_colour(rng)
        if np.linalg.norm(colour - behind) >= MIN_CONTRAST and all(
            np.linalg.norm(colour - other) >= MIN_PAINT_CONTRAST for other in taken
        ):
            break
    return colour
