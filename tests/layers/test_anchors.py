"""Anchors: by hand, and torchvision's on several padded sizes."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from golden_inputs import PADDED_SIZES, golden, map_sizes, some_rows
from layer_harness import check_layer

from keras_mrcnn.layers.anchors import AnchorGenerator, cell_anchors

RATIOS = (0.5, 1.0, 2.0)
FPN = ((32,), (64,), (128,), (256,), (512,))


def maps(sizes):
    return [tf.zeros([1, *size, 1]) for size in sizes]


def test_harness():
    anchors = check_layer(AnchorGenerator(FPN, RATIOS), maps(map_sizes(64, 96)), tf.constant([64, 96]))
    assert [len(level) for level in anchors] == [16 * 24 * 3, 8 * 12 * 3, 4 * 6 * 3, 2 * 3 * 3, 1 * 2 * 3]


def test_cell_anchors_by_hand():
    expected = [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]
    assert cell_anchors([32], RATIOS).tolist() == expected
    two = cell_anchors([32, 64], [1.0])
    assert two.tolist() == [[-16, -16, 16, 16], [-32, -32, 32, 32]]
    assert two.dtype == np.float32


def test_order_is_row_column_ratio_size():
    anchors = AnchorGenerator(((2, 4),), (1.0, 4.0))(maps([(2, 3)]), tf.constant([16, 24]))[0].numpy()
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    cells = [[8 * x, 8 * y] for y in range(2) for x in range(3)]
    np.testing.assert_array_equal(centres, np.repeat(cells, 4, axis=0))
    np.testing.assert_array_equal((anchors[:, 2:] - anchors[:, :2])[:4], [[2, 2], [4, 4], [0, 4], [2, 8]])


def test_stride_of_each_axis_is_its_own():
    anchors = AnchorGenerator(((512,),), (1.0,))(maps([(13, 21)]), tf.constant([800, 1344]))[0].numpy()
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert centres[1].tolist() == [64, 0] and centres[21].tolist() == [0, 61]


@pytest.mark.parametrize("size", PADDED_SIZES)
def test_agrees_with_torchvision(size):
    expected, padded = golden("anchors"), tf.constant(size)
    sizes = map_sizes(*size)
    generators = {"fpn": AnchorGenerator(FPN, RATIOS), "c4": AnchorGenerator(((128, 256, 512),), RATIOS)}
    for name, level_sizes in (("fpn", sizes), ("c4", sizes[2:3])):
        for level, anchors in enumerate(generators[name](maps(level_sizes), padded)):
            rows = expected[f"{name} {size[0]}x{size[1]} {level}"]
            np.testing.assert_array_equal(tf.gather(anchors, some_rows(len(anchors))), rows)
