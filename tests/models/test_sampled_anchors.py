"""The RPN at sampled anchors against the RPN on whole maps: values and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from golden_inputs import uniform
from small_models import fill, inputs, small_config

from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.models.sampled_anchors import score_sampled_anchors


def both_ways(model, batch, indices):
    """Objectness, deltas and gradients of a loss on them, from sampled anchors and from whole maps."""
    results = []
    weights = [*model.neck.trainable_weights, *model.rpn.trainable_weights, *model.backbone.trainable_weights]
    for sampled in (True, False):
        with tf.GradientTape() as tape:
            maps = model.backbone(batch["images"])
            if sampled:
                objectness, deltas = score_sampled_anchors(model.neck, model.rpn, model.neck.merge(maps), indices)
            else:
                whole = [tf.concat(levels, axis=1) for levels in model.rpn(model.neck(maps))]
                objectness, deltas = (tf.gather(values, indices, batch_dims=1) for values in whole)
            loss = tf.reduce_sum(tf.sin(3.0 * objectness)) + tf.reduce_sum(tf.sin(2.0 * deltas))
        gradients = [tf.convert_to_tensor(g).numpy() for g in tape.gradient(loss, [tf_variable(w) for w in weights])]
        results.append((objectness.numpy(), deltas.numpy(), gradients))
    return results


def tf_variable(weight):
    return getattr(weight, "value", weight) if not isinstance(weight, tf.Variable) else weight


@pytest.mark.parametrize("changes", [{}, {"rpn": {"convolutions": 2}}, {"neck": {"norm": "frozen_bn"}}])
def test_sampled_anchors_are_those_of_the_whole_maps(changes):
    model = fill(MaskRCNN(small_config(backbone={"norm": "bn"}, **changes)))
    batch = inputs()
    total = sum(level.shape[1] for level in model.rpn(model.extract_features(batch["images"]))[0])
    # Every third anchor, so also those at all borders and of the two coarse levels; the other image backwards.
    indices = np.arange(0, total, 3, np.int32)
    indices = tf.constant(np.stack([indices, indices[::-1]]))
    (objectness, deltas, gradients), (wanted_objectness, wanted_deltas, wanted_gradients) = both_ways(
        model, batch, indices
    )
    np.testing.assert_allclose(objectness, wanted_objectness, atol=1e-5)
    np.testing.assert_allclose(deltas, wanted_deltas, atol=1e-5)
    assert len(gradients) > 20
    for gradient, wanted in zip(gradients, wanted_gradients):
        np.testing.assert_allclose(gradient, wanted, atol=2e-4 * max(1.0, np.abs(wanted).max()))


@pytest.mark.parametrize("level", ["finest", "coarsest"])
def test_all_samples_on_one_level(level):
    model = fill(MaskRCNN(small_config()))
    batch = inputs(sizes=((64, 96),))
    counts = [values.shape[1] for values in model.rpn(model.extract_features(batch["images"]))[0]]
    start = 0 if level == "finest" else sum(counts[:-1])
    (objectness, deltas, _), (wanted, wanted_deltas, _) = both_ways(
        model, batch, tf.constant([[start, start + 1, start, start + 2]])
    )
    np.testing.assert_allclose(objectness, wanted, atol=1e-5)
    np.testing.assert_allclose(deltas, wanted_deltas, atol=1e-5)


def test_interior_is_the_inside_of_the_whole():
    model = fill(MaskRCNN(small_config(neck={"norm": "frozen_bn"})))
    x = tf.constant(uniform("interior", (2, 6, 7, 8)))
    for layer in (model.neck.layer[0], model.rpn.convs[0]):
        np.testing.assert_allclose(layer.call_inside(x), layer(x)[:, 1:-1, 1:-1], atol=1e-5)
