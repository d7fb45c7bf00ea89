"""The necks: the pyramid by hand, and the single map."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from golden_inputs import uniform

from keras_mrcnn.models.fpn import C4, FPN


def constant_maps(values, size=32):
    return [tf.fill([1, size >> i, size >> i, 1], float(value)) for i, value in enumerate(values)]


def identity_fpn(features):
    """One channel, 1x1 convolutions of 1, 3x3 convolutions that pass the centre."""
    fpn = FPN(channels=1)
    fpn(features)
    centre = np.zeros((3, 3, 1, 1), np.float32)
    centre[1, 1] = 1
    for inner, layer in zip(fpn.inner, fpn.layer):
        inner.set_weights([np.ones((1, 1, 1, 1)), np.zeros(1)])
        layer.set_weights([centre, np.zeros(1)])
    return fpn


def test_levels_add_up_from_the_top():
    features = constant_maps([1, 10, 100, 1000])
    maps = identity_fpn(features)(features)
    assert [fmap.shape[1] for fmap in maps] == [32, 16, 8, 4, 2]
    assert [float(fmap[0, 0, 0, 0]) for fmap in maps] == [1111, 1110, 1100, 1000, 1000]
    assert all(np.ptp(fmap) == 0 for fmap in maps)


def test_upsampling_is_nearest_and_p6_takes_every_other_cell():
    top = tf.reshape(tf.range(16, dtype=tf.float32), [1, 4, 4, 1])
    features = [*constant_maps([0, 0, 0]), top]
    maps = identity_fpn(features)(features)
    np.testing.assert_array_equal(maps[2][0, :, :, 0], np.kron(top[0, :, :, 0], np.ones((2, 2))))
    np.testing.assert_array_equal(maps[4][0, :, :, 0], [[0, 2], [8, 10]])


def test_p6_of_odd_sizes_rounds_up():
    features = [tf.zeros([2, 24 >> i, 40 >> i, 3]) for i in range(4)]
    assert FPN(channels=5)(features)[-1].shape == (2, 2, 3, 5)


def test_gradient_reaches_every_level():
    features = [tf.Variable(fmap) for fmap in constant_maps([1, 2, 3, 4])]
    fpn = identity_fpn(features)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(fpn(features)[0])
    gradients = tape.gradient(total, features)
    # Every one of the 32 x 32 cells of P2 sees one cell of each level.
    assert [float(tf.reduce_sum(gradient)) for gradient in gradients] == [1024] * 4


def test_norms_take_the_place_of_biases():
    features = [tf.constant(uniform(f"C{i}", (2, 16 >> i, 16 >> i, 3))) for i in range(4)]
    plain, normed = FPN(channels=5), FPN(channels=5, norm="frozen_bn", epsilon=0.5)
    plain(features), normed(features)
    for with_bias, with_norm in zip([*plain.inner, *plain.layer], [*normed.inner, *normed.layer]):
        # (x - mean) gamma / sqrt(variance + epsilon) + beta = 2 x + 3
        with_norm.set_weights([with_bias.conv.kernel.numpy(), *(np.full(5, value) for value in (2, 5, 1, 0.5))])
        with_bias.set_weights([2 * with_bias.conv.kernel.numpy(), np.full(5, 3)])
    for ours, expected in zip(normed(features), plain(features)):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


def test_statistics_move_in_training_only():
    features = [tf.constant(uniform(f"C{i}", (2, 16 >> i, 16 >> i, 3), 0, 9)) for i in range(4)]
    fpn = FPN(channels=5, norm="bn")
    fpn(features)

    def means():
        return [conv.norm.moving_mean.numpy().any() for conv in (*fpn.inner, *fpn.layer)]

    assert means() == [False] * 8
    fpn(features, training=True)
    assert means() == [True] * 8


def test_c4_gives_the_last_map_as_it_is():
    features = constant_maps([1, 2, 3])
    (only,) = C4()(features)
    np.testing.assert_array_equal(only, features[-1])
