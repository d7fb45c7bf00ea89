"""Folded batch norms: the same outputs, and only convolutions with biases left."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from export.models import noise_image, small_config

from keras_mrcnn.config import BoxHeadConfig, MaskHeadConfig, NeckConfig, ResNetConfig
from keras_mrcnn.export.folding import fold_norms
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.ops import images as image_ops
from keras_mrcnn.weights.names import named_weights


def model_with(norm, head_norm, neck="fpn"):
    """A small model whose norms have statistics of their own."""
    settings = {"norm": head_norm} if neck == "fpn" else {}
    config = small_config(neck).model_copy(
        update={
            "backbone": ResNetConfig(depth=18, width=0.25, norm=norm, norm_epsilon=1e-3),
            "neck": NeckConfig(kind=neck, channels=32, **settings),
            "box_head": BoxHeadConfig(channels=16, convolutions=1, conv_channels=8, norm=head_norm, dense_layers=1),
            "mask_head": MaskHeadConfig(channels=8, convolutions=1, norm=head_norm),
        }
    )
    model, random = MaskRCNN(config), np.random.default_rng(0)
    for name, entry in sorted(named_weights(model).items()):
        if len(entry.variable.shape) == 1:
            low = 0.5 if name.endswith(("running_var", "weight")) else -0.3
            entry.variable.assign(random.uniform(low, low + 0.6, entry.variable.shape).astype(np.float32))
    return model


def steps(model):
    """What each part of a model makes of a picture."""
    images = image_ops.normalise(noise_image(64, 96))[None]
    features = model.extract_features(images)
    rois = tf.constant([[[3.0, 4.0, 40.0, 30.0], [0.0, 0.0, 96.0, 64.0]]])
    objectness, deltas, _ = model.score_anchors(features, images)
    found = model.box_head(model.box_pool(model.roi_features(features), rois))
    masks = model.mask_head(model.mask_pool(model.roi_features(features), rois), tf.constant([[1, 2]]))
    return [*features, *objectness, *deltas, *found, masks]


@pytest.mark.parametrize(
    ("norm", "head_norm", "neck"),
    [("frozen_bn", None, "fpn"), ("bn", "bn", "fpn"), ("group_norm", "frozen_bn", "fpn"), ("frozen_bn", None, "c4")],
)
def test_finds_the_same(norm, head_norm, neck):
    model = model_with(norm, head_norm, neck)
    before = model.get_weights()
    folded = fold_norms(model)
    for ours, expected in zip(steps(folded), steps(model)):
        scale = float(tf.reduce_max(tf.abs(expected)))
        np.testing.assert_allclose(ours, expected, atol=2e-5 * max(scale, 1.0))
    assert all((old == new).all() for old, new in zip(before, model.get_weights()))
    kept = norm if norm == "group_norm" else None
    assert folded.config.backbone.norm == kept and folded.config.mask_head.norm is None
    assert not any("moving" in weight.name for weight in folded.weights)


def test_bfloat16_halves_the_weights():
    folded = fold_norms(model_with("frozen_bn", None), "bfloat16")
    assert {str(tf.as_dtype(weight.dtype).name) for weight in folded.weights} == {"bfloat16"}
    logits, deltas = folded.box_head(tf.ones([1, 2, 7, 7, 32]))
    assert logits.dtype == deltas.dtype == tf.float32
