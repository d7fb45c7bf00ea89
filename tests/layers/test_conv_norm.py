"""Convolution with norm: biases where there is none, symmetric padding, strides, statistics that move or do not."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from golden_inputs import uniform

from keras_mrcnn.layers.conv_norm import ConvNorm, he_normal

INPUTS = tf.constant(uniform("conv inputs", (2, 6, 8, 3), -2, 2))
NORMS = ["frozen_bn", "bn", "sync_bn", "group_norm"]


def weight_names(layer):
    return sorted(weight.name.split("/")[-1].split(":")[0] for weight in layer.weights)


def by_hand(image, kernel, stride):
    """Convolution of one image [H, W, C] with as many zeros on every side, by its definition."""
    side = len(kernel)
    padded = np.pad(image, [(side // 2,) * 2, (side // 2,) * 2, (0, 0)])
    rows, columns = (range(0, size, stride) for size in image.shape[:2])
    patches = [[padded[y : y + side, x : x + side] for x in columns] for y in rows]
    return np.einsum("yxhwi,hwio->yxo", patches, kernel)


@pytest.mark.parametrize(("side", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)])
@pytest.mark.parametrize("size", [(6, 8), (5, 7)])
def test_padding_is_symmetric_and_sizes_round_up(side, stride, size):
    layer = ConvNorm(4, side, stride=stride)
    inputs = INPUTS[:, : size[0], : size[1]]
    outputs = layer(inputs)
    assert outputs.shape == (2, -(-size[0] // stride), -(-size[1] // stride), 4)
    kernel, bias = uniform("kernel", (side, side, 3, 4)), uniform("bias", 4)
    layer.set_weights([kernel, bias])
    expected = by_hand(inputs[1].numpy(), kernel, stride) + bias
    np.testing.assert_allclose(layer(inputs)[1], expected, rtol=1e-4, atol=1e-4)


def test_bias_only_without_norm():
    plain = ConvNorm(4, 3)
    plain(INPUTS)
    assert weight_names(plain) == ["bias", "kernel"] and plain.norm is None
    for norm in NORMS:
        layer = ConvNorm(4, 3, norm=norm)
        layer(INPUTS)
        statistics = [] if norm == "group_norm" else ["moving_mean", "moving_variance"]
        assert weight_names(layer) == ["beta", "gamma", "kernel", *statistics]


def test_norm_comes_after_the_convolution():
    layer = ConvNorm(4, 3, norm="frozen_bn", epsilon=1e-2)
    layer.build(INPUTS.shape)
    kernel = uniform("kernel", (3, 3, 3, 4))
    gamma, beta, mean, variance = (uniform(name, 4, 0.5, 2) for name in ("gamma", "beta", "mean", "variance"))
    layer.conv.kernel.assign(kernel)
    layer.norm.set_weights([gamma, beta, mean, variance])
    expected = gamma * (by_hand(INPUTS[0].numpy(), kernel, 1) - mean) / np.sqrt(variance + 1e-2) + beta
    np.testing.assert_allclose(layer(INPUTS)[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_only_batch_norms_that_train_use_the_batch(norm):
    layer = ConvNorm(4, 3, norm=norm)
    inference = layer(INPUTS, training=False).numpy()
    before = [value.copy() for value in layer.norm.get_weights()]
    training = layer(INPUTS, training=True).numpy()
    moved = any((old != new).any() for old, new in zip(before, layer.norm.get_weights()))
    assert moved == (norm in ("bn", "sync_bn")) == (np.abs(training - inference).max() > 1e-3)
    if moved:
        np.testing.assert_allclose(training.mean(axis=(0, 1, 2)), 0, atol=1e-5)


@pytest.mark.parametrize("norm", ["bn", "sync_bn"])
def test_frozen_layers_leave_their_statistics_alone(norm):
    layer = ConvNorm(4, 3, norm=norm)
    layer.build(INPUTS.shape)
    layer.trainable = False
    before = layer.get_weights()
    np.testing.assert_array_equal(layer(INPUTS, training=True), layer(INPUTS, training=False))
    for old, new in zip(before, layer.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_a_map_smaller_than_the_kernel():
    assert ConvNorm(4, 3, stride=2)(tf.zeros([1, 1, 2, 3])).shape == (1, 1, 1, 4)
    assert ConvNorm(4, 7, stride=2)(tf.zeros([1, 2, 2, 3])).shape == (1, 1, 1, 4)


def test_initial_kernels():
    layers = [ConvNorm(64, 3, name=f"conv{i}") for i in range(2)]
    for layer in layers:
        layer(tf.zeros([1, 4, 4, 64]))
    kernels = [layer.conv.kernel.numpy() for layer in layers]
    assert (kernels[0] != kernels[1]).mean() > 0.99
    # He: a variance of 2 over 3 * 3 * 64 outputs.
    assert kernels[0].std() == pytest.approx(np.sqrt(2 / 576), rel=0.05)
    assert he_normal() is not he_normal()
    given = ConvNorm(2, 1, initializer=keras.initializers.Constant(3.0))
    given.build((1, 4, 4, 1))
    assert given.conv.kernel.numpy().tolist() == [[[[3.0, 3.0]]]]


@pytest.mark.parametrize("stride", [1, 2])
def test_gradient_is_that_of_the_formula(stride):
    """The strided 1x1 convolution reads every second cell, so that the others get no gradient."""
    layer, inputs = ConvNorm(4, 1, stride=stride), tf.Variable(INPUTS)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(inputs))
    gradient = tf.convert_to_tensor(tape.gradient(total, inputs)).numpy()
    expected = np.zeros_like(gradient)
    expected[:, ::stride, ::stride] = layer.conv.kernel.numpy()[0, 0].sum(axis=-1)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)
