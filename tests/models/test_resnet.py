"""ResNet backbones: shapes, sizes, strides, freezing, norms."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from golden_inputs import uniform

from keras_mrcnn.models.resnet import ResNet
from keras_mrcnn.weights.names import backbone_weights

IMAGES = tf.constant(uniform("resnet images", (1, 64, 96, 3), -2, 2))


def run(training=False, **settings):
    backbone = ResNet(**{"depth": 18, "width": 0.125, **settings})
    return backbone, backbone(IMAGES, training=training)


# Torchvision's counts of resnet18 to 101 without the classifier, batch norm's gamma and beta included.
@pytest.mark.parametrize(("depth", "count"), [(18, 11_176_512), (34, 21_284_672), (50, 23_508_032), (101, 42_500_160)])
def test_weights_count_and_map_shapes(depth, count):
    backbone = ResNet(depth)
    maps = backbone(tf.zeros([1, 32, 64, 3]))
    base = 64 if depth < 50 else 256
    assert [fmap.shape for fmap in maps] == [(1, 32 // s, 64 // s, base * s // 4) for s in (4, 8, 16, 32)]
    sizes = {name: int(np.prod(entry.variable.shape)) for name, entry in backbone_weights(backbone).items()}
    assert sum(size for name, size in sizes.items() if "running" not in name) == count


def test_width_multiplies_every_channel_count():
    _, maps = run(width=0.25)
    assert [fmap.shape[-1] for fmap in maps] == [16, 32, 64, 128]
    _, bottleneck_maps = run(depth=50, width=0.125, stages=2)
    assert bottleneck_maps[0].shape[-1] == 32


def test_four_stages_end_at_c4():
    backbone, maps = run(stages=4)
    assert [fmap.shape[1:3] for fmap in maps] == [(16, 24), (8, 12), (4, 6)]
    assert len(backbone.stages) == 3


def test_odd_sizes_round_up():
    backbone = ResNet(18, 0.125)
    assert [fmap.shape[1:3] for fmap in backbone(tf.zeros([1, 50, 35, 3]))] == [(13, 9), (7, 5), (4, 3), (2, 2)]


def shrinking(block, channels):
    """By how much each convolution of a block makes a map of 8 x 8 smaller."""
    factors, x = [], tf.zeros([1, 8, 8, channels])
    for conv in block.convs:
        factors.append(x.shape[1] // conv(x).shape[1])
        x = conv(x)
    return factors


@pytest.mark.parametrize(("stride_in", "factors"), [("3x3", [1, 2, 1]), ("1x1", [2, 1, 1])])
def test_which_convolution_of_a_bottleneck_strides(stride_in, factors):
    backbone, maps = run(depth=50, width=0.0625, stages=3, stride_in=stride_in)
    assert shrinking(backbone.stages[1][0], maps[0].shape[-1]) == factors
    assert shrinking(backbone.stages[1][1], maps[1].shape[-1]) == [1, 1, 1]
    assert maps[1].shape[1:3] == (8, 12)


@pytest.mark.parametrize("norm", ["frozen_bn", "bn", "sync_bn", "group_norm"])
@pytest.mark.parametrize("training", [False, True])
def test_norms(norm, training):
    _, maps = run(training=training, norm=norm)
    assert all(fmap.dtype == tf.float32 and np.isfinite(fmap).all() for fmap in maps)


def values(backbone):
    return {name: entry.variable.numpy() for name, entry in backbone_weights(backbone).items()}


def test_frozen_bn_never_trains_and_never_moves():
    backbone, _ = run(norm="frozen_bn")
    backbone.trainable = True
    before = values(backbone)
    backbone(IMAGES, training=True)
    assert len(backbone.trainable_weights) == 20, "the 20 convolutions and nothing else"
    for name, value in values(backbone).items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("norm", ["bn", "sync_bn"])
def test_statistics_of_frozen_stages_stay_to_the_bit(norm):
    backbone, _ = run(norm=norm)
    backbone.freeze(2)
    before = values(backbone)
    backbone(IMAGES, training=True)
    moved = {name for name, value in values(backbone).items() if (value != before[name]).any()}
    assert moved and all("running" in name for name in moved)
    assert {name.split(".")[0] for name in moved} == {"layer2", "layer3", "layer4"}


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_freeze_chooses_what_trains(count):
    backbone, _ = run(norm="bn")
    backbone.freeze(5)
    assert backbone.trainable_weights == []
    backbone.freeze(count)
    parts = [[backbone.stem], *backbone.stages]
    for index, layers in enumerate(parts):
        assert all(bool(layer.trainable_weights) == (index >= count) for layer in layers)
