"""The small networks of the golden tests: sizes, weights and input, the same for torchvision and for ours.

A file with the weights would be too large for the repository, so that every weight follows from its name and shape.
"""

from __future__ import annotations

import numpy as np
from golden_inputs import picture, random_boxes, uniform

CLASS_NAMES = ("first", "second", "third")
CHANNELS, BOX_CHANNELS = 16, 32
PADDED = (96, 128)
SIZES = np.int32([[96, 128], [80, 110]])
PRE_NMS, POST_NMS, MAX_DETECTIONS, SCORE_THRESHOLD = 200, 60, 30, 0.05
MIN_SIZE, MAX_SIZE = 96, 128

# Gains of the last layers: they spread objectness, scores and masks, so that what is detected is distinct and sure.
GAINS = {"cls_logits": 0.6, "rpn.head.bbox_pred": 0.15, "cls_score": 2.0, "fcn_logits": 2.0}
# Rows that sum to zero see what differs between places, not what all of them share: without that, all look alike.
BALANCED = ("cls_", "fc6", "fc7", "layer_blocks", "box_head.")
CLASS_BIAS = (0.0, 8.0, 5.0, -3.0)  # brings the classes to similar numbers of detections


def weights_like(shapes):
    """Weights for a dict of torchvision names to shapes: a dict of name to float32 array in torch's layout."""
    return {name: _weight(name, tuple(shape)) for name, shape in shapes.items()}


def _weight(name, shape):
    if len(shape) > 1:
        gain = next((gain for part, gain in GAINS.items() if part in name), 1.0)
        weight = gain * uniform(name, shape) * np.float32(np.sqrt(6 / np.prod(shape[1:])))
        return weight - weight.mean(axis=1, keepdims=True) if any(p in name for p in BALANCED) else weight
    if name.endswith("cls_score.bias"):
        return np.resize(np.float32(CLASS_BIAS), shape)
    if name.endswith("running_var"):
        return uniform(name, shape, 0.8, 1.6)
    if name.endswith("weight"):  # of a norm: no other has one dimension
        # In the backbone residuals add up; elsewhere each norm passes on what it gets.
        return uniform(name, shape, 0.4, 0.8) if "backbone.body" in name else uniform(name, shape, 0.9, 1.5)
    return uniform(name, shape, -0.2, 0.2)


def images():
    """Two normalised images float32 [2, H, W, 3], padded with zeros to `PADDED`."""
    batch = np.zeros((2, *PADDED, 3), np.float32)
    for image, (height, width) in zip(batch, SIZES):
        image[:height, :width] = picture(height, width) / 100 - 1.2
    return batch


def head_case():
    """RoIs [2, 8, 4] with targets, on which the gradients of the heads are taken."""
    rois = np.stack([random_boxes(f"head rois {i}", 8, 70, 100, 60) for i in range(2)])
    sides = np.tile(rois[..., 2:] - rois[..., :2], 2)
    return {
        "rois": rois,
        "labels": np.int32([[1, 2, 3, 1, 0, 0, 0, 0], [3, 3, 2, 0, 0, 0, 0, 0]]),
        "target_boxes": (rois + uniform("head shifts", (2, 8, 4), -0.1, 0.1) * sides).astype(np.float32),
        "target_masks": (uniform("head masks", (2, 8, 28, 28)) > 0).astype(np.float32),
    }


def thin(values, count=1500):
    """At most `count` values of an array, evenly spread over it, flat."""
    flat = np.asarray(values, np.float32).reshape(-1)
    return flat[:: max(1, len(flat) // count)]
