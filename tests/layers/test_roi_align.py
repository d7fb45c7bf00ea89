"""RoIAlign: by hand, torchvision's on RoIs of every kind, levels, gradient."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from golden_inputs import golden, roi_align_case
from layer_harness import check_layer

from keras_mrcnn.layers.roi_align import RoIAlign, roi_levels

STRIDES = (4, 8, 16, 32)


def test_harness():
    features, rois = roi_align_case()
    pooled = check_layer(RoIAlign(7, STRIDES), [tf.constant(fmap) for fmap in features], tf.constant(rois))
    assert pooled.shape == (2, 32, 7, 7, 3)


def test_a_plane_is_read_at_the_bins_centres():
    y, x = np.meshgrid(np.arange(16), np.arange(16), indexing="ij")
    fmap = tf.constant(np.stack([x, y], axis=-1)[None], tf.float32)
    pooled = RoIAlign(2, (4,))([fmap], tf.constant([[[8.0, 16.0, 24.0, 48.0]]]))[0, 0]
    # The RoI spans cells 2..6 and 4..12, so that bins of 2 and 4 cells have their centres at 3, 5 and at 6, 10.
    np.testing.assert_allclose(pooled, [[[3, 6], [5, 6]], [[3, 10], [5, 10]]], rtol=1e-5)


def test_samples_beyond_one_cell_outside_are_zero_and_nearer_ones_repeat_the_border():
    ones = tf.ones([1, 8, 8, 1])
    # On a map of stride 1, x samples at -1.75, -1.25, -0.75, -0.25 in the two bins of -2..0.
    pooled = RoIAlign(2, (1,))([ones], tf.constant([[[-2.0, 2.0, 0.0, 4.0]]]))[0, 0, :, :, 0]
    np.testing.assert_allclose(pooled, [[0, 1], [0, 1]], atol=1e-5)


def test_each_image_is_pooled_from_its_own_map():
    features = [tf.constant([1.0, 2.0])[:, None, None, None] * tf.ones([2, 64 // s, 64 // s, 1]) for s in STRIDES]
    pooled = RoIAlign(3, STRIDES)(features, tf.constant([[[8.0, 8.0, 40.0, 40.0]]] * 2))
    np.testing.assert_allclose(pooled[0], 1.0, rtol=1e-5)
    np.testing.assert_allclose(pooled[1], 2.0, rtol=1e-5)


def test_no_rois():
    features, _ = roi_align_case()
    assert RoIAlign(7, STRIDES)(features, tf.zeros([2, 0, 4])).shape == (2, 0, 7, 7, 3)


def test_gradient_flows_to_the_features_and_not_to_the_rois():
    fmap, rois = tf.Variable(tf.ones([1, 8, 8, 1])), tf.Variable([[[0.0, 0.0, 4.0, 4.0]]])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(RoIAlign(2, (1,))([fmap], rois))
    to_map, to_rois = tape.gradient(total, [fmap, rois])
    assert to_rois is None
    # Four bins, each an average whose weights add up to 1.
    assert float(tf.reduce_sum(to_map)) == pytest.approx(4.0, rel=1e-5)


def test_levels_by_hand():
    # Square RoIs at the bounds: 112 is the least of P3, 224 of P4, 448 of P5.
    sides = np.float32([0, 10, 111.9, 112, 223.9, 224, 447.9, 448, 5000])
    rois = np.stack([np.zeros_like(sides), np.zeros_like(sides), sides, sides], axis=1)
    assert roi_levels(tf.constant(rois), STRIDES).numpy().tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3]
    inside_out = tf.constant([[10.0, 0.0, 0.0, 10.0]])
    assert roi_levels(inside_out, STRIDES).numpy().tolist() == [0]


def test_canonical_side_shifts_the_levels():
    rois = tf.constant([[0.0, 0.0, side, side] for side in (20.0, 28.0, 56.0, 112.0)])
    assert roi_levels(rois, STRIDES, 56.0).numpy().tolist() == [0, 1, 2, 3]
    features = [tf.fill([1, 64 // stride, 64 // stride, 1], float(stride)) for stride in STRIDES]
    pooled = RoIAlign(2, STRIDES, canonical_side=56.0)(features, rois[None] / 2)
    np.testing.assert_allclose(pooled[0, :, 0, 0, 0], [4, 4, 8, 16], rtol=1e-5)


def test_levels_agree_with_torchvision():
    _, rois = roi_align_case()
    levels = roi_levels(tf.constant(rois), STRIDES).numpy()
    assert set(levels.ravel()) == {0, 1, 2, 3}
    np.testing.assert_array_equal(levels, golden("roi_align")["levels"])


@pytest.mark.parametrize("side", [7, 14])
def test_agrees_with_torchvision(side):
    features, rois = roi_align_case()
    pooled = RoIAlign(side, STRIDES)([tf.constant(fmap) for fmap in features], tf.constant(rois)).numpy()
    expected = golden("roi_align")[str(side)]
    if side == 14:
        pooled = pooled[0, :20, :, :, 1]
    np.testing.assert_allclose(pooled, expected, atol=1e-4)
