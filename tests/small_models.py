"""Small models for the tests, made in a second or two."""

from __future__ import annotations

import functools

import golden_network
import tensorflow as tf
from golden_inputs import uniform

from keras_mrcnn.config import ModelConfig
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.weights.names import named_weights

SMALL = {
    "class_names": ("a", "b"),
    "backbone": {"depth": 18, "width": 0.125},
    "neck": {"channels": 8},
    "rpn": {"pre_nms_test": 50, "post_nms_test": 20, "pre_nms_train": 60, "post_nms_train": 30},
    "box_head": {"channels": 16, "max_detections": 5},
    "mask_head": {"channels": 8, "convolutions": 1},
}


def small_config(**changes):
    """A `ModelConfig` with a group of settings changed: small_config(backbone={"norm": "bn"})."""
    groups = {name: {**SMALL[name], **value} if isinstance(value, dict) else value for name, value in changes.items()}
    return ModelConfig.model_validate({**SMALL, **groups})


V2 = {
    "backbone": {"depth": 18, "norm": "bn"},
    "neck": {"norm": "bn"},
    "rpn": {"convolutions": 2},
    "box_head": {"dense_layers": 1, "convolutions": 4, "conv_channels": golden_network.CHANNELS, "norm": "bn"},
    "mask_head": {"norm": "bn"},
}


def golden_config(version="v1", **box_head):
    """Config of a network in golden_network.py: built as torchvision's first Mask R-CNN or as its second."""
    case, changes = golden_network, V2 if version == "v2" else {}
    groups = {
        "backbone": {"depth": 18},
        "neck": {"channels": case.CHANNELS},
        "rpn": {"pre_nms_test": case.PRE_NMS, "post_nms_test": case.POST_NMS},
        "box_head": {
            "channels": case.BOX_CHANNELS,
            "max_detections": case.MAX_DETECTIONS,
            "score_threshold": case.SCORE_THRESHOLD,
            **box_head,
        },
        "mask_head": {"channels": case.CHANNELS},
    }
    groups = {name: {**settings, **changes.get(name, {})} for name, settings in groups.items()}
    return ModelConfig.model_validate({"class_names": case.CLASS_NAMES, **groups})


def fill(model):
    """Gives every weight the value that follows from its torchvision name, and returns the model."""
    entries = named_weights(model)
    shapes = {name: entry.to_torch(entry.variable.numpy()).shape for name, entry in entries.items()}
    for name, value in golden_network.weights_like(shapes).items():
        entries[name].variable.assign(entries[name].from_torch(value))
    return model


@functools.cache
def golden_model(version="v1"):
    """A filled network of golden_network.py. Shared: do not change it."""
    return fill(MaskRCNN(golden_config(version)))


def inputs(height=64, width=96, sizes=((64, 96), (50, 70)), name="images"):
    """Model inputs: noise inside each image's true size, zeros outside."""
    images = uniform(name, (len(sizes), height, width, 3), -2, 2)
    for image, (h, w) in zip(images, sizes):
        image[h:], image[:, w:] = 0, 0
    return {"images": tf.constant(images), "image_sizes": tf.constant(sizes, tf.int32)}
