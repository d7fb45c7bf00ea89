"""Vehicles of generated scenes: car, bus, truck, bicycle.

Every function takes a `numpy.random.Generator` and returns a list of `Part`s, seen from the side and facing right,
standing on y = 0, with random proportions and details. Paint numbers only say which parts share a paint; shapes have
no colours.
"""

from __future__ import annotations

import numpy as np

from keras_mrcnn.scenes.shapes import Part, ellipse, limb, polygon, rectangle, step


def _wheel(x: float, radius: float, paint_tyre: int, paint_hub: int, hub: float = 0.55) -> list[Part]:
    """Draws a tyre on the ground and its hub; `hub` is the hub's share of the radius."""
    return [ellipse(paint_tyre, x, -radius, radius), ellipse(paint_hub, x, -radius, radius * hub)]


def _windows(paint: int, left: float, right: float, top: float, bottom: float, count: int, gap: float) -> list[Part]:
    """Draws a row of `count` upright windows between `left` and `right`, `gap` apart."""
    pitch = (right - left + gap) / count
    return [rectangle(paint, left + i * pitch, top, left + (i + 1) * pitch - gap, bottom) for i in range(count)]


def car(rng: np.random.Generator) -> list[Part]:
    """Draws a body, a cabin with windows and two wheels; bonnet, boot and screens vary in length and slope."""
    length, wheel = rng.uniform(3.4, 4.6), rng.uniform(0.32, 0.46)
    floor = -wheel * rng.uniform(0.5, 0.8)
    waist = floor - rng.uniform(0.6, 0.85)
    roof = waist - rng.uniform(0.5, 0.85)
    rear, front = rng.uniform(0.03, 0.26) * length, rng.uniform(0.62, 0.8) * length
    rear_top, front_top = rear + rng.uniform(0.05, 0.5), front - rng.uniform(0.3, 0.8)
    nose = waist + rng.uniform(0.05, 0.3)
    body = (0, floor), (0, waist + 0.12), (0.12, waist), (length - 0.5, waist), (length, nose), (length, floor)
    cabin = (rear, waist + 0.02), (rear_top, roof), (front_top, roof), (front, waist + 0.02)
    parts = [polygon(0, *body), polygon(rng.choice([0, 0, 3]), *cabin)]
    pillar = rng.uniform(0.4, 0.6)
    inset = 0.14
    low_left, low_right, top_left, top_right = rear + inset, front - inset, rear_top + inset / 2, front_top - inset / 2
    for start, end in ((0.0, pillar - 0.03), (pillar + 0.03, 1.0)):
        parts.append(
            polygon(
                1,
                (low_left + start * (low_right - low_left), waist - 0.02),
                (top_left + start * (top_right - top_left), roof + 0.12),
                (top_left + end * (top_right - top_left), roof + 0.12),
                (low_left + end * (low_right - low_left), waist - 0.02),
            )
        )
    if rng.random() < 0.5:
        parts.append(rectangle(3, 0, floor - 0.18, length, floor - 0.04))
    if rng.random() < 0.7:
        parts.append(ellipse(4, length - 0.16, nose + 0.16, 0.13, 0.1))
    for x in (rng.uniform(0.17, 0.23), rng.uniform(0.77, 0.83)):
        parts += _wheel(x * length, wheel, 2, 4, rng.uniform(0.4, 0.65))
    return parts


def bus(rng: np.random.Generator) -> list[Part]:
    """Draws a long box with one or two decks, rows of windows, a door, and two or three wheels."""
    decks = 1 + int(rng.random() < 0.25)
    length, wheel = rng.uniform(4.6, 7.5), rng.uniform(0.38, 0.5)
    floor, height = -wheel * 0.7, rng.uniform(1.8, 2.3) + 0.95 * (decks - 1)
    top = floor - height
    slant = rng.uniform(0.0, 0.3)
    body = (0, floor), (0, top + 0.1), (0.1, top), (length - slant, top), (length, top + 0.6), (length, floor)
    parts = [polygon(0, *body)]
    if rng.random() < 0.6:
        parts.append(rectangle(3, 0, floor - rng.uniform(0.35, 0.7), length, floor - 0.2))
    count, gap = int(rng.integers(4, 8)), rng.uniform(0.12, 0.25)
    for deck in range(decks):
        window_top = top + 0.25 + 0.95 * deck
        parts += _windows(1, 0.25, length * 0.8, window_top, window_top + rng.uniform(0.55, 0.75), count, gap)
    parts.append(rectangle(1, length * 0.8 + gap, top + 0.3, length - slant - 0.1, top + 1.0))
    door = length * rng.uniform(0.62, 0.8)
    if rng.random() < 0.7:
        parts.append(rectangle(4, door, floor - 1.25, door + 0.6, floor - 0.05))
    wheels = [0.16, 0.84] if rng.random() < 0.7 else [0.14, 0.28, 0.84]
    return parts + [part for x in wheels for part in _wheel(x * length, wheel, 2, 4)]


def truck(rng: np.random.Generator) -> list[Part]:
    """Draws a cab in front of a box, a tank or an open bed, on two to four wheels."""
    cab, load, wheel = rng.uniform(1.0, 1.5), rng.uniform(2.2, 4.2), rng.uniform(0.36, 0.5)
    floor = -wheel * 0.9
    roof = floor - rng.uniform(1.3, 1.8)
    length = load + cab + 0.15
    kind = rng.choice(["box", "tank", "bed"])
    parts = [rectangle(3, 0, floor - 0.2, length - 0.1, floor + 0.05)]
    if kind == "box":
        parts.append(rectangle(4, 0, floor - rng.uniform(1.5, 2.4), load, floor - 0.15))
    elif kind == "tank":
        radius = rng.uniform(0.6, 0.8)
        parts.append(limb(4, (radius, floor - 0.15 - radius), (load - radius, floor - 0.15 - radius), radius))
    else:
        parts.append(rectangle(4, 0, floor - rng.uniform(0.5, 0.8), load, floor - 0.15))
    left, slope = load + 0.15, rng.uniform(0.1, 0.4)
    parts += [
        polygon(0, (left, floor), (left, roof), (length - slope, roof), (length, roof + 0.75), (length, floor)),
        polygon(
            1,
            (left + 0.25, roof + 0.7),
            (left + 0.25, roof + 0.2),
            (length - slope - 0.05, roof + 0.2),
            (length - 0.1, roof + 0.7),
        ),
    ]
    wheels = [[0.18], [0.12, 0.3], [0.1, 0.24, 0.38]][int(rng.integers(3))] + [1 - 0.5 * cab / length]
    return parts + [part for x in wheels for part in _wheel(x * length, wheel, 2, 5)]


def bicycle(rng: np.random.Generator) -> list[Part]:
    """Draws two filled wheels, a frame of bars, a saddle and a handlebar."""
    wheel, base, bar = rng.uniform(0.32, 0.4), rng.uniform(0.95, 1.2), rng.uniform(0.035, 0.055)
    rear, front = np.array([0.0, -wheel]), np.array([base, -wheel])
    crank = np.array([base * rng.uniform(0.38, 0.46), -wheel + rng.uniform(0.0, 0.08)])
    seat = crank + (rng.uniform(-0.24, -0.12), -rng.uniform(0.42, 0.55))
    head = front + (-rng.uniform(0.1, 0.22), -rng.uniform(0.42, 0.55))
    stem = head + (front - head) * -rng.uniform(0.2, 0.4)
    parts = _wheel(0.0, wheel, 0, 1, rng.uniform(0.68, 0.78)) + _wheel(base, wheel, 0, 1, rng.uniform(0.68, 0.78))
    collar = seat + 0.15 * (crank - seat)
    bars = [(rear, crank), (rear, seat), (crank, seat), (crank, head), (collar, head), (stem, front)]
    parts += [limb(2, start, end, bar) for start, end in bars]
    saddle_end = seat + (0.0, -0.05)
    parts += [
        limb(3, saddle_end + (-0.13, 0), saddle_end + (0.1, 0.01), 0.05, 0.03),
        limb(3, stem, stem + (rng.uniform(-0.05, 0.2), -0.03), 0.04),
        ellipse(3, *crank, 0.08),
        limb(3, crank, step(crank, 0.17, rng.uniform(-3, 3)), 0.03),
    ]
    return parts
