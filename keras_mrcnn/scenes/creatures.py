"""People and animals of generated scenes: standing, walking, sitting; four-legged, bird, flying bird.

Every function takes a `numpy.random.Generator` and returns a list of `Part`s, seen from the side and facing right, with
random proportions and joint angles. Paint numbers only say which parts share a paint; shapes have no colours. Angles
are in radians from straight down, positive forwards.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_mrcnn.scenes.shapes import Part, ellipse, limb, polygon, step


def _person(
    rng: np.random.Generator,
    lean: float,
    hips: Sequence[float] | np.ndarray,
    knees: Sequence[float] | np.ndarray,
    shoulders: Sequence[float] | np.ndarray,
    elbows: Sequence[float] | np.ndarray,
) -> list[Part]:
    """Draws a person with the given angles of the trunk and of the pairs of joints, far side first."""
    torso, leg, arm = rng.uniform(0.5, 0.62), rng.uniform(0.38, 0.48), rng.uniform(0.26, 0.33)
    head, girth, thick = rng.uniform(0.12, 0.16), rng.uniform(0.11, 0.19), rng.uniform(0.065, 0.095)
    hip = np.zeros(2)
    neck = step(hip, torso, np.pi - lean)
    sleeve, shoes = rng.choice([0, 1]), 3
    shoulder = neck + 0.12 * (hip - neck)

    def draw_leg(side: int) -> list[Part]:
        knee = step(hip, leg, hips[side])
        foot = step(knee, leg, hips[side] - knees[side])
        toe = step(foot, 0.14, hips[side] - knees[side] + np.pi / 2)
        return [
            limb(2, hip, knee, thick * 1.25, thick),
            limb(2, knee, foot, thick, thick * 0.75),
            limb(shoes, foot, toe, thick * 0.8, thick * 0.6),
        ]

    def draw_arm(side: int) -> list[Part]:
        elbow = step(shoulder, arm, shoulders[side])
        hand = step(elbow, arm * 0.95, shoulders[side] + elbows[side])
        return [
            limb(sleeve, shoulder, elbow, thick * 0.85, thick * 0.7),
            limb(0, elbow, hand, thick * 0.65, thick * 0.55),
            ellipse(0, *hand, thick * 0.8),
        ]

    top = step(neck, head * 1.15, np.pi - lean * 0.5)
    parts = draw_arm(0) + draw_leg(0) + draw_leg(1)
    parts += [limb(1, shoulder, hip, girth, girth * rng.uniform(0.7, 0.95)), limb(0, neck, top, head * 0.5)]
    parts.append(ellipse(0, *top, head * 0.88, head))
    if rng.random() < 0.7:
        parts.append(ellipse(4, top[0] - head * 0.12, top[1] - head * 0.45, head * 0.95, head * 0.65, -0.3))
    return parts + draw_arm(1)


def standing(rng: np.random.Generator) -> list[Part]:
    """Draws a standing person: legs nearly straight, arms hanging, on the hips or raised."""
    hips = rng.uniform(-0.22, 0.0), rng.uniform(0.0, 0.22)
    if rng.random() < 0.65:
        shoulders, elbows = rng.uniform([-0.5, -0.1], [0.1, 0.5]), rng.uniform(0.0, 0.5, 2)
    else:
        shoulders, elbows = rng.uniform([-2.9, 0.4], [-0.6, 2.9]), rng.uniform(-0.4, 0.6, 2)
    return _person(rng, rng.uniform(-0.06, 0.1), hips, rng.uniform(0.0, 0.12, 2), shoulders, elbows)


def walking(rng: np.random.Generator) -> list[Part]:
    """Draws a walking person: legs apart, the rear knee bent, arms swinging against the legs."""
    stride, side = rng.uniform(0.35, 0.75), int(rng.integers(2))
    hips = np.array([stride, -stride * rng.uniform(0.6, 1.0)])
    knees = np.array([rng.uniform(0.0, 0.4), rng.uniform(0.15, 0.9)])
    shoulders = np.array([-stride * rng.uniform(0.7, 1.2), stride * rng.uniform(0.7, 1.3)])
    order = [side, 1 - side]
    return _person(rng, rng.uniform(0.0, 0.25), hips[order], knees[order], shoulders[order], rng.uniform(0.1, 1.3, 2))


def sitting(rng: np.random.Generator) -> list[Part]:
    """Draws a sitting person: thighs forwards, shins down, trunk upright or leaning, arms on the lap or held out."""
    hips = rng.uniform(1.2, 1.75) + rng.uniform(-0.15, 0.15, 2)
    knees = hips + rng.uniform(-0.35, 0.3, 2)
    shoulders = rng.uniform(0.2, 1.2, 2)
    return _person(rng, rng.uniform(-0.3, 0.2), hips, knees, shoulders, rng.uniform(0.2, 1.2, 2))


def four_legged(rng: np.random.Generator) -> list[Part]:
    """Draws a trunk on four jointed legs, with neck, head, an ear and tail: from dachshund to horse."""
    length, girth, leg = rng.uniform(0.8, 1.25), rng.uniform(0.17, 0.27), rng.uniform(0.22, 0.42)
    thick = rng.uniform(0.05, 0.08)
    leg_paint, head_paint = rng.choice([0, 1]), rng.choice([0, 2])
    rump, chest = np.array([0.0, 0.0]), np.array([length, rng.uniform(-0.08, 0.05)])
    neck = step(chest, rng.uniform(0.15, 0.55), np.pi - rng.uniform(0.3, 1.2))
    size = rng.uniform(0.12, 0.17)
    gaze = rng.uniform(1.2, 2.0) - rng.uniform(0.0, 0.7)
    muzzle = step(neck, rng.uniform(0.2, 0.34), gaze)

    def draw_leg(hip: np.ndarray, swing: float, bend: float) -> list[Part]:
        knee = step(hip, leg, swing)
        foot = step(knee, leg, swing - bend)
        return [limb(leg_paint, hip, knee, thick * 1.4, thick), limb(leg_paint, knee, foot, thick, thick * 0.85)]

    low, swings = girth * 0.35, rng.uniform(-0.45, 0.45, 4)
    parts = [limb(rng.choice([0, 3]), rump + (-girth * 0.6, -girth * 0.3), _tail(rng, rump, girth), 0.05, 0.03)]
    for i, hip in enumerate([rump, chest, rump, chest]):
        bend = rng.uniform(-0.5, 0.1) if hip is rump else rng.uniform(-0.1, 0.5)
        parts += draw_leg(hip + ((0.06, low) if i < 2 else (-0.06, low)), swings[i], bend)
    parts.append(limb(0, rump, chest, girth * rng.uniform(0.85, 1.05), girth))
    if rng.random() < 0.5:
        parts.append(ellipse(3, length * rng.uniform(0.2, 0.8), rng.uniform(-0.08, 0.05), length * 0.2, girth * 0.6))
    parts.append(limb(0, chest + (0.02, -girth * 0.2), neck, girth * 0.75, size * 0.85))
    ear = step(neck, size * rng.uniform(1.2, 2.0), np.pi - rng.uniform(-0.9, 0.2))
    parts += [
        limb(head_paint, neck, muzzle, size, size * rng.uniform(0.45, 0.7)),
        polygon(rng.choice([0, 3]), neck + (-size * 0.7, -size * 0.2), ear, neck + (size * 0.25, -size * 0.8)),
    ]
    return parts


def _tail(rng: np.random.Generator, rump: np.ndarray, girth: float) -> np.ndarray:
    """Returns the tip of a random tail: float64 [2]."""
    return step(rump + (-girth * 0.6, -girth * 0.3), rng.uniform(0.2, 0.5), -rng.uniform(0.3, 2.4))


def bird(rng: np.random.Generator) -> list[Part]:
    """Draws a bird on the ground: egg-shaped body, folded wing, tail, neck of any length, beak, two thin legs."""
    length, girth, tilt = rng.uniform(0.42, 0.55), rng.uniform(0.22, 0.32), -rng.uniform(0.0, 0.6)
    axis = np.array([np.cos(tilt), np.sin(tilt)])
    leg, thick, head = rng.uniform(0.15, 0.5), rng.uniform(0.025, 0.045), rng.uniform(0.13, 0.19)
    chest = axis * length * 0.7
    skull = step(chest, rng.uniform(0.25, 0.7), np.pi - rng.uniform(0.0, 0.7))
    parts = []
    for x, swing in ((-0.08, rng.uniform(-0.3, 0.1)), (0.06, rng.uniform(-0.1, 0.3))):
        hip = np.array([x, girth * 0.7])
        foot = step(hip, leg + girth * 0.3, swing)
        parts += [limb(3, hip, foot, thick), limb(3, foot, foot + (0.13, 0.0), thick)]
    rear = -axis * length * 0.75
    tip = rear - axis * rng.uniform(0.25, 0.5) + (0.0, rng.uniform(-0.15, 0.2))
    parts += [
        polygon(rng.choice([0, 1]), rear + (0.0, -0.12), tip + (0.0, -0.07), tip + (0.0, 0.07), rear + (0.1, 0.14)),
        ellipse(0, 0.0, 0.0, length, girth, tilt),
        limb(0, chest, skull, girth * 0.6, head * 0.75),
    ]
    drop = rng.uniform(0.0, 0.35)
    parts.append(ellipse(1, -length * 0.2, -0.02, length * rng.uniform(0.55, 0.75), girth * 0.55, tilt - drop))
    beak = skull + (head * 0.8 + rng.uniform(0.14, 0.34), rng.uniform(-0.02, 0.08))
    parts += [
        polygon(3, skull + (head * 0.5, -0.07), beak, skull + (head * 0.5, 0.08)),
        ellipse(rng.choice([0, 2]), *skull, head),
        ellipse(3, skull[0] + head * 0.35, skull[1] - head * 0.2, head * 0.2),
    ]
    return parts


def flying_bird(rng: np.random.Generator) -> list[Part]:
    """Draws a bird in the air: body, head, beak and tail fan, both wings spread and bent."""
    length, girth, head = rng.uniform(0.45, 0.6), rng.uniform(0.13, 0.2), rng.uniform(0.1, 0.15)
    skull = np.array([length + head * 0.5, -rng.uniform(0.0, 0.15)])
    fan = rng.uniform(0.12, 0.25)

    def draw_wing(lift: float, paint: int) -> Part:
        root, chord = rng.uniform(0.0, 0.15), rng.uniform(0.2, 0.3)
        elbow = np.array([root, 0.0]) + step((0, 0), rng.uniform(0.35, 0.5), lift + rng.uniform(-0.1, 0.35))
        tip = elbow + step((0, 0), rng.uniform(0.4, 0.65), lift - rng.uniform(0.1, 0.7))
        rear = elbow - (chord * rng.uniform(1.2, 1.6), 0.0)
        return polygon(paint, (root + chord, 0.0), elbow + (0.05, 0.0), tip, rear, (root - chord, 0.0))

    wings = rng.choice([1, 2])
    upwards = np.pi + rng.uniform(-0.3, 0.3)
    second = upwards - rng.uniform(0.4, 0.8) if rng.random() < 0.4 else rng.uniform(-0.4, 0.3)
    return [
        draw_wing(second, wings),
        polygon(1, (-length * 0.6, -0.06), (-length - 0.3, -fan), (-length - 0.3, fan * 0.8), (-length * 0.6, 0.08)),
        _beak(rng, skull, head),
        ellipse(0, 0.0, 0.0, length, girth),
        limb(0, (length * 0.6, 0.0), skull, girth * 0.8, head * 0.9),
        ellipse(rng.choice([0, 2]), *skull, head),
        draw_wing(upwards, 1),
    ]


def _beak(rng: np.random.Generator, skull: np.ndarray, head: float) -> Part:
    """Draws a beak that points straight ahead."""
    tip = skull + (head + rng.uniform(0.12, 0.25), 0.02)
    return polygon(3, skull + (head * 0.4, -0.07), tip, skull + (head * 0.4, 0.07))
