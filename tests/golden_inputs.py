"""Inputs of the golden tests, made the same way by `scripts/make_golden.py` and by the tests.

Golden files hold only what torchvision makes of these inputs. NumPy alone is needed, and of it `RandomState`, whose
streams never change.

Shapes: B batch, H W C of a map, N anchors, R RoIs, K classes, M mask side.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "golden"


def golden(name):
    """The arrays of a golden file as a dict."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


def uniform(name, shape, low=-1.0, high=1.0):
    """float32 numbers that depend on `name` alone."""
    return np.random.RandomState(zlib.crc32(name.encode())).uniform(low, high, shape).astype(np.float32)


def random_boxes(name, count, height, width, longest):
    """Boxes float32 [count, 4] with corners inside an image and sides from 1 to `longest` pixels."""
    corner = uniform(name + " corner", (count, 2), 0, 1) * np.float32([width - 1, height - 1])
    sides = np.exp(uniform(name + " sides", (count, 2), 0, np.log(longest))).astype(np.float32)
    return np.concatenate([corner, corner + sides], axis=1).astype(np.float32)


# Anchors: padded sizes of the input. 800 gives a P6 of 13 rows with stride 61, 1344 one of 21 with stride 64.
PADDED_SIZES = ((64, 96), (800, 1344), (1344, 800), (1024, 1024), (32, 32))


def map_sizes(height, width, levels=5):
    """Sizes of P2, P3, ...: P6 is every other row and column of P5."""
    sizes = [(height // stride, width // stride) for stride in (4, 8, 16, 32)]
    return [*sizes, tuple((side + 1) // 2 for side in sizes[-1])][:levels]


def some_rows(count):
    """Which of `count` rows a golden file holds: at most 60 spread evenly, first and last among them."""
    return np.unique(np.linspace(0, count - 1, 60).astype(int))


def box_case():
    """Boxes near their references, and deltas of which some are beyond the clamp."""
    references = random_boxes("references", 40, 300, 400, 200)
    boxes = references + uniform("shifts", (40, 4), -0.2, 0.2) * np.tile(references[:, 2:] - references[:, :2], 2)
    deltas = uniform("deltas", (40, 4), -3, 3)
    deltas[:6, 2:] = uniform("large deltas", (6, 2), 4, 30)
    return references, boxes.astype(np.float32), deltas


def nms_case():
    """A crowd of overlapping boxes with distinct scores, in three groups."""
    boxes = random_boxes("crowd", 150, 60, 60, 60)
    scores = np.random.RandomState(5).permutation(150).astype(np.float32) / 150 + np.float32(1e-3)
    return boxes, scores, np.arange(150) % 3


ROI_INPUT = (256, 320)


def roi_align_case():
    """Features [2, H, W, 3] of P2..P5 and RoIs [2, R, 4]: random, tiny, huge, outside, at and over every border."""
    features = [uniform(f"P{i + 2}", (2, h, w, 3)) for i, (h, w) in enumerate(map_sizes(*ROI_INPUT, levels=4))]
    height, width = ROI_INPUT
    special = np.float32(
        [
            [10, 10, 10, 10],  # no area
            [37.3, 52.1, 37.31, 52.15],  # tiny
            [100, 100, 101, 200],  # thin
            [-100, -50, 900, 800],  # huge
            [0, 0, width, height],  # all of it
            [-448, -448, 448, 448],
            [0, 0, 40, 40],  # the corners
            [width - 40, 0, width, 40],
            [0, height - 40, 40, height],
            [width - 40, height - 40, width, height],
            [-6, 100, 30, 140],  # over each border
            [width - 30, 100, width + 6, 140],
            [100, -6, 140, 30],
            [100, height - 30, 140, height + 6],
            [width - 1, height - 1, width, height],
            [400, 300, 500, 420],  # outside
            [-80, -90, -20, -30],
            [0, 0, 112, 112],  # just at a level's bound
            [0, 0, 111.9, 111.9],
            [0, 0, 224, 224],
        ]
    )
    random = random_boxes("rois", 12, height, width, 300)
    rois = np.concatenate([special, random])
    return features, np.stack([rois, rois[::-1]])


PROPOSAL_SIZES = np.int32([[128, 160], [100, 131]])


def proposal_case():
    """Objectness logits and deltas of P2..P6 for two images padded to 128 x 160."""
    sizes = map_sizes(128, 160)
    counts = [h * w * 3 for h, w in sizes]
    # Logits far enough apart that rounding cannot change their order.
    steps = np.linspace(-4, 4, sum(counts), dtype=np.float32)
    shuffled = np.stack([np.random.RandomState(image).permutation(steps) for image in range(2)])
    objectness = np.split(shuffled, np.cumsum(counts)[:-1], axis=1)
    deltas = [uniform(f"rpn deltas {h}x{w}", (2, h * w * 3, 4), -0.7, 0.7) for h, w in sizes]
    return objectness, deltas


def matching_case():
    """Anchors on a grid, so that ties occur, and ground truths, one of which no anchor overlaps well."""
    y, x = np.meshgrid(np.arange(0, 96, 8), np.arange(0, 128, 8), indexing="ij")
    corner = np.stack([x, y], axis=-1).reshape(-1, 1, 2)
    sides = np.float32([[16, 16], [24, 12], [12, 24]])
    anchors = np.concatenate([corner - sides / 2, corner + sides / 2], axis=-1).reshape(-1, 4).astype(np.float32)
    aligned = np.float32([[24, 24, 40, 40], [60, 30, 76, 46], [4, 60, 28, 72], [70, 20, 73, 23]])
    return anchors, np.concatenate([aligned, random_boxes("objects", 8, 80, 110, 40)])


DETECTION_SIZES = np.int32([[120, 160], [90, 133]])


def detection_case():
    """Class logits [2, R, K + 1], deltas [2, R, K + 1, 4] and RoIs [2, R, 4] for K = 4 and R = 120."""
    logits = uniform("class logits", (2, 120, 5), -3, 3)
    deltas = uniform("box deltas", (2, 120, 5, 4), -4, 4)
    rois = np.stack([random_boxes(f"detection rois {i}", 120, 120, 160, 80) for i in range(2)])
    return logits, deltas, rois


def loss_case():
    """One image's sampled anchors and RoIs with labels, ground-truth boxes, predictions and mask targets."""
    references = random_boxes("loss references", 24, 100, 100, 60)
    sides = np.tile(references[:, 2:] - references[:, :2], 2)
    labels = np.int32([1, 3, 2, 2, 1, 3] + [0] * 18)
    return {
        "references": references,
        "target_boxes": (references + uniform("loss shifts", (24, 4), -0.15, 0.15) * sides).astype(np.float32),
        "labels": labels,
        "objectness": uniform("loss objectness", (24,), -3, 3),
        "rpn_deltas": uniform("loss rpn deltas", (24, 4), -0.5, 0.5),
        "class_logits": uniform("loss class logits", (24, 4), -3, 3),
        "deltas": uniform("loss deltas", (24, 4, 4), -1.5, 1.5),
        "mask_logits": uniform("loss mask logits", (6, 28, 28, 4), -3, 3),
        "gt_masks": (uniform("loss masks", (6, 20, 20)) > 0).repeat(5, axis=1).repeat(5, axis=2).astype(np.float32),
    }


PASTE_SIZE = (40, 50)


def paste_case():
    """Masks [D, 28, 28] of probabilities and boxes: ordinary, sub-pixel, over the borders, larger than the image."""
    boxes = np.float32(
        [
            [5.3, 6.7, 30.2, 28.9],
            [10.2, 12.1, 10.6, 12.9],
            [-4.5, -3.2, 12.0, 15.5],
            [35.5, 25.1, 56.4, 47.7],
            [-10, -10, 60, 50],
            [20, 5, 22.5, 38],
        ]
    )
    return uniform("paste masks", (6, 28, 28), 0, 1), boxes


TRANSFORM_MIN, TRANSFORM_MAX = 64, 100
IMAGE_SIZES = ((480, 640), (161, 200), (640, 427), (333, 500), (100, 1000), (37, 61), (427, 640), (799, 1333))


def picture(height, width):
    """A uint8 RGB picture with smooth shapes and noise."""
    y, x = np.meshgrid(np.linspace(0, 6, height), np.linspace(0, 6, width), indexing="ij")
    waves = np.stack([np.floor(y * x) % 4 * 60, np.floor(x * 2) % 5 * 50, np.floor(y + x) % 3 * 90], axis=-1)
    return np.clip(waves + uniform(f"noise {height}x{width}", (height, width, 3), -20, 20), 0, 255).astype(np.uint8)
