"""The normalisations: what is frozen stays frozen, and each kind does what its name says."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from golden_inputs import uniform
from layer_harness import check_layer

from keras_mrcnn.layers.normalization import FrozenBatchNormalization, make_norm

INPUTS = tf.constant(uniform("norm inputs", (2, 4, 4, 6), -3, 5))


def filled(layer):
    """The layer with known weights: gamma, beta, mean, variance."""
    layer.build(INPUTS.shape)
    layer.set_weights([uniform(name, 6, 0.5, 2) for name in ("gamma", "beta", "mean", "variance")])
    return layer


def test_harness():
    check_layer(filled(FrozenBatchNormalization(epsilon=1e-3)), INPUTS)


@pytest.mark.parametrize("kind", ["bn", "sync_bn", "group_norm"])
def test_harness_of_the_others(kind):
    check_layer(make_norm(kind, 6, 1e-5, "norm"), INPUTS)


def test_frozen_batch_norm_is_the_formula():
    layer = filled(FrozenBatchNormalization(epsilon=1e-2))
    gamma, beta, mean, variance = layer.get_weights()
    expected = gamma * (INPUTS.numpy() - mean) / np.sqrt(variance + 1e-2) + beta
    with tf.GradientTape() as tape:
        tape.watch(INPUTS)
        outputs = layer(INPUTS)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)
    gradient = tape.gradient(outputs, INPUTS)
    np.testing.assert_allclose(gradient, np.broadcast_to(gamma / np.sqrt(variance + 1e-2), INPUTS.shape), rtol=1e-5)


def test_frozen_batch_norm_has_nothing_to_train_even_when_told_to():
    layer = filled(FrozenBatchNormalization())
    layer.trainable = True
    assert layer.trainable_weights == [] and len(layer.non_trainable_weights) == 4


def test_frozen_equals_keras_batch_norm_at_inference():
    frozen, keras_norm = filled(FrozenBatchNormalization()), filled(make_norm("bn", 6, 1e-5, "norm"))
    np.testing.assert_allclose(frozen(INPUTS), keras_norm(INPUTS, training=False), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["bn", "sync_bn"])
def test_batch_norms_move_a_tenth_of_the_way(kind):
    layer = make_norm(kind, 6, 1e-5, "norm")
    layer(INPUTS, training=True)
    mean = tf.reduce_mean(INPUTS, axis=[0, 1, 2])
    np.testing.assert_allclose(layer.moving_mean.numpy(), 0.1 * mean, rtol=1e-4)


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (48, 24), (6, 6), (7, 7), (33, 11)])
def test_group_norm_chooses_groups_that_divide_the_channels(channels, groups):
    layer = make_norm("group_norm", channels, 1e-5, "norm")
    assert layer.groups == groups
    outputs = layer(tf.constant(uniform("group inputs", (1, 3, 3, channels), 0, 9))).numpy()
    grouped = outputs.reshape(9, groups, channels // groups)
    np.testing.assert_allclose(grouped.mean(axis=(0, 2)), 0, atol=1e-4)
