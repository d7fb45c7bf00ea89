"""A small `StageOutputs` made by hand: 100 x 200 pixels, one car and one dog, two levels."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_mrcnn.base.records import Detections, GroundTruth
from keras_mrcnn.visualize import AnchorLevel, MaskOutputs, SampledRoIs, ScoredBoxes, StageOutputs

NAMES = ("car", "dog")
CAR, DOG = [20, 20, 80, 60], [120, 40, 180, 90]


def grey_image(height=100, width=200):
    return np.full((height, width, 3), 100, np.uint8)


def has_colour(picture, colour):
    return (picture == np.array(colour)).all(axis=-1)


def make_detections(boxes, image_size, scores=None, ids=None, names=None, masks=True):
    count = len(boxes)
    return Detections(
        np.float32(boxes).reshape(-1, 4),
        np.full(count, 0.87) if scores is None else scores,
        np.ones(count, int) if ids is None else ids,
        ("car",) * count if names is None else names,
        np.ones((count, 28, 28)) if masks else None,
        image_size,
    )


def make_level(name, stride, labelled=True):
    """One square anchor a cell, twice as wide as the stride; the first cell positive, the last ignored."""
    height, width = 96 // stride, 192 // stride
    y, x = np.meshgrid(np.arange(height) * stride, np.arange(width) * stride, indexing="ij")
    boxes = np.stack([x - stride, y - stride, x + stride, y + stride], axis=-1)[:, :, None].astype(np.float32)
    labels = np.zeros((height, width, 1), np.int32)
    labels[0, 0], labels[-1, -1] = 1, -1
    objectness = np.linspace(0, 1, height * width, dtype=np.float32).reshape(height, width, 1)
    return AnchorLevel(name, (float(stride), float(stride)), boxes, labels if labelled else None, objectness)


def make_views(image=None):
    boxes = np.float32([CAR, DOG])
    found = make_detections(boxes, (100, 200), scores=[0.9, 0.8], ids=[1, 2], names=NAMES)
    masks = np.zeros((2, 28, 28), np.float32)
    masks[:, 7:21, 7:21] = 1
    return StageOutputs(
        image=grey_image() if image is None else image,
        class_names=NAMES,
        ground_truth=GroundTruth(boxes, [1, 2], np.full((2, 8, 8), 255), NAMES, (100, 200)),
        levels=(make_level("P2", 8), make_level("P3", 16)),
        candidates=ScoredBoxes(np.float32([CAR, CAR, DOG]), np.float32([0.9, 0.8, 0.5])),
        proposals=ScoredBoxes(boxes, np.float32([0.9, 0.5])),
        rois=SampledRoIs(
            np.float32([CAR, [22, 20, 80, 60], DOG, [0, 0, 10, 10]]), np.int32([1, 1, 2, 0]),
            np.float32([CAR, CAR, DOG, CAR]), np.int32([0, 0, 1, 0]),
        ),
        class_boxes=np.repeat(boxes[:, None], 2, axis=1),
        class_scores=np.float32([[0.9, 0.05], [-1.0, 0.8]]),
        detections=found,
        masks=MaskOutputs(np.stack([masks[0]] * 3), np.stack([masks[0], np.roll(masks[0], 7, axis=0), 0 * masks[0]])),
    )  # fmt: skip


def without_ground_truth(outputs):
    levels = tuple(dataclasses.replace(level, labels=None) for level in outputs.levels)
    return dataclasses.replace(outputs, ground_truth=None, levels=levels, rois=None, masks=None)


def with_nothing_found(outputs):
    """No object, no proposal, no positive RoI, no detection."""
    size = outputs.image.shape[:2]
    none = ScoredBoxes(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    levels = tuple(dataclasses.replace(level, labels=0 * level.labels) for level in outputs.levels)
    return dataclasses.replace(
        outputs,
        ground_truth=GroundTruth(np.zeros((0, 4)), np.zeros(0, int), np.zeros((0, 8, 8), np.uint8), (), size),
        levels=levels,
        candidates=none,
        proposals=none,
        rois=SampledRoIs(none.boxes, np.zeros(0, np.int32), none.boxes, np.zeros(0, np.int32)),
        class_boxes=np.zeros((0, 2, 4), np.float32),
        class_scores=np.zeros((0, 2), np.float32),
        detections=Detections.empty(size),
        masks=MaskOutputs(np.zeros((0, 28, 28), np.float32), np.zeros((0, 28, 28), np.float32)),
    )


def panels_of(figure):
    """The pictures in a figure, uint8 [H, W, 3], in the order in which they were set; without the colour bar."""
    pictures = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    return [picture for picture in pictures if picture.shape[1] > 2]


def words_of(figure):
    """All text of a figure, one line after the other."""
    return " ".join(text.get_text() for text in figure.texts)
