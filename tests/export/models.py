"""The small model of these tests, and pictures for it.

Its weights are drawn by NumPy, so that they are the same under either Keras: normal, deviation sqrt(2 / fan-in), seed
3. The heads' last layers are scaled so that boxes keep near their anchors and no score saturates: of two overlapping
boxes that both score 1.0 to the last bit, each runtime may keep another. The background gets a head start of 3.5, so
that a picture with texture gives confident detections and one of the mean colour gives none.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_mrcnn.config import BoxHeadConfig, MaskHeadConfig, ModelConfig, NeckConfig, ResNetConfig, RPNConfig
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.ops import images as image_ops
from keras_mrcnn.weights.names import named_weights

COCO_IMAGES = Path(__file__).resolve().parents[3] / "shared" / "data" / "coco-mini" / "images" / "val"
MEAN_COLOUR = (124, 116, 104)


def small_config(neck="fpn", backbone=None):
    return ModelConfig(
        class_names=("car", "person", "dog"),
        category_ids=(3, 7, 90),
        min_size=128,
        max_size=224,
        backbone=backbone or ResNetConfig(depth=18, width=0.25),
        neck=NeckConfig(kind=neck, channels=32),
        rpn=RPNConfig(pre_nms_test=60, post_nms_test=40),
        box_head=BoxHeadConfig(channels=64, max_detections=40),
        mask_head=MaskHeadConfig(channels=16, convolutions=2),
    )


def confident_model(neck="fpn", backbone=None):
    """A model that detects something; a backbone of keras.applications starts as Keras lets it."""
    model, random = MaskRCNN(small_config(neck, backbone)), np.random.default_rng(3)
    for name, entry in sorted(named_weights(model).items()):
        shape = entry.variable.shape
        if len(shape) > 1 and not (backbone and name.startswith("backbone.body.")):
            fan_in = np.prod(shape[:-1])
            entry.variable.assign(random.normal(0.0, np.sqrt(2.0 / fan_in), shape).astype(np.float32))
    _spread_outputs(model)
    head_start = np.float32([3.5, 0.0, 0.0, 0.0])
    model.box_head.classes.bias.assign(head_start - _mean_logits(model) if backbone else head_start)
    return model


def _spread_outputs(model):
    """Scales the last layer of each head so that its outputs for a picture have a trained model's spread."""
    images = image_ops.normalise(noise_image(128, 160, seed=9))[None]
    sizes = tf.constant([[128, 160]])
    features = model.extract_features(images)
    objectness, deltas, _ = model.score_anchors(features, images)
    _scale_to(model.rpn.objectness, objectness[0], 1.5)
    _scale_to(model.rpn.deltas, deltas[0], 0.2)
    pooled = model.box_pool(model.roi_features(features), model.propose(features, images, sizes).boxes)
    class_logits, deltas = model.box_head(pooled)
    _scale_to(model.box_head.classes, class_logits, 2.0)
    _scale_to(model.box_head.deltas, deltas, 1.0)


def _mean_logits(model):
    """What the box head says of the average RoI: random networks may put the same class first everywhere."""
    inputs = model.preprocess(tf.constant(noise_image(97, 131)[None]))
    features = model.extract_features(inputs["images"])
    proposals = model.propose(features, inputs["images"], inputs["image_sizes"])
    logits, _ = model.box_head(model.box_pool(model.roi_features(features), proposals.boxes))
    return np.mean(logits, axis=(0, 1))


def _scale_to(layer, outputs, deviation):
    layer.kernel.assign(np.asarray(layer.kernel.numpy()) * deviation / np.std(outputs))


def noise_image(height, width, seed=0):
    """Blobs of every size, uint8 [H, W, 3]."""
    random, image = np.random.default_rng(seed), np.zeros([height, width, 3])
    for cells in (3, 9, 27):
        coarse = Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        image += np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR)) / 3
    return image.astype(np.uint8)


def blank_image(height, width):
    return np.broadcast_to(np.uint8(MEAN_COLOUR), (height, width, 3)).copy()


def assert_same(found, expected):
    """Same count, labels, scores to 1e-4, boxes to 0.05 px, masks to one byte; near-equal scores may swap places."""
    np.testing.assert_array_equal(found["valid"], expected["valid"])
    assert (np.diff(found["scores"]) <= 0).all()
    for row in range(len(expected["valid"])):
        order = _places(*(record[name][row] for record in (found, expected) for name in ("category_ids", "boxes")))
        for name, tolerance in (("category_ids", 0), ("scores", 1e-4), ("boxes", 0.05), ("masks", 1)):
            got, wanted = found[name][row][order].astype(float), expected[name][row].astype(float)
            np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance, err_msg=name)


def _places(category_ids, boxes, expected_ids, expected_boxes):
    """For each expected detection the row of the one that was found: of its category, with the nearest box."""
    distance = np.abs(boxes[None] - expected_boxes[:, None]).max(axis=-1)
    distance = np.where(category_ids == expected_ids[:, None], distance, np.inf)
    order, real = distance.argmin(axis=1), expected_ids > 0
    assert len(set(order[real])) == real.sum()
    return order
