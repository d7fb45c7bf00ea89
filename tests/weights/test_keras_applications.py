"""ImageNet weights: our maps are those of keras.applications on the same picture; what cannot be loaded is refused."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from golden_inputs import picture, uniform

from keras_mrcnn.models.resnet import ResNet
from keras_mrcnn.ops import images as image_ops
from keras_mrcnn.weights.keras_applications import load_imagenet
from keras_mrcnn.weights.native import WeightsError, value_of

ENDS = ("conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out")


@pytest.fixture(scope="module")
def trained():
    """ResNet50 of keras.applications with random biases and batch-norm statistics, as trained ones have."""
    model = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(64, 64, 3))
    for layer in model.layers:
        shapes = [value_of(weight).shape for weight in layer.weights]
        if isinstance(layer, keras.layers.BatchNormalization):
            low, high = (0.4, -0.2, -0.2, 0.6), (0.9, 0.2, 0.2, 1.5)
            bounds = zip("gbmv", shapes, low, high)
            layer.set_weights([uniform(f"{layer.name} {name}", *args) for name, *args in bounds])
        elif shapes:
            kernel = uniform(layer.name, shapes[0]) * np.sqrt(6 / np.prod(shapes[0][:3]))
            layer.set_weights([kernel, uniform(f"{layer.name} bias", shapes[1], -0.3, 0.3)])
    return model


@pytest.fixture(scope="module")
def path(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("imagenet") / "resnet50.weights.h5"
    trained.save_weights(path)
    return path


@pytest.mark.parametrize("norm", ["frozen_bn", "bn"])
def test_maps_are_those_of_keras_applications(trained, path, norm):
    backbone = ResNet(50, stride_in="1x1", norm=norm, epsilon=1e-3)
    image = picture(64, 64)[None]
    ours = image_ops.normalise(tf.constant(image))
    backbone(ours)
    load_imagenet(backbone, str(path))

    theirs = keras.applications.resnet.preprocess_input(image.astype(np.float32))
    ends = keras.Model(trained.input, [trained.get_layer(name).output for name in ENDS])
    wanted = [np.asarray(fmap) for fmap in ends(theirs, training=False)]
    for fmap, expected in zip(backbone(ours, training=False), wanted):
        assert fmap.shape == expected.shape and expected.std() > 0.01
        # Zero padding means the mean colour to both, but their mean differs from ours by up to half a grey level.
        np.testing.assert_allclose(fmap, expected, atol=1e-2 * np.abs(expected).max())
    inner = (slice(None), slice(4, -4), slice(4, -4))
    scale = np.abs(wanted[0]).max()
    np.testing.assert_allclose(backbone(ours)[0][inner], wanted[0][inner], atol=1e-4 * scale)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 18, "stride_in": "1x1"}, "no ResNet-18; set model.backbone.depth"),
        ({"width": 0.125, "stride_in": "1x1"}, "model.backbone.width 1"),
        ({"stride_in": "3x3"}, "set model.backbone.stride_in to 1x1"),
        ({"stride_in": "1x1", "norm": "group_norm"}, "set model.backbone.norm"),
    ],
)
def test_backbones_that_have_no_such_weights_are_refused(settings, message):
    backbone = ResNet(**{"depth": 50, "stages": 2, **settings})
    backbone(tf.zeros([1, 32, 32, 3]))
    with pytest.raises(WeightsError, match=message):
        load_imagenet(backbone, "imagenet")


def test_files_that_cannot_be_read_are_refused(tmp_path):
    backbone = ResNet(50, stages=2, stride_in="1x1")
    backbone(tf.zeros([1, 32, 32, 3]))
    broken = tmp_path / "broken.weights.h5"
    broken.write_bytes(b"not HDF5")
    for source in (broken, tmp_path / "nowhere.weights.h5"):
        with pytest.raises(WeightsError, match="cannot be had or read") as caught:
            load_imagenet(backbone, str(source))
        assert source.name in str(caught.value) and "\n" not in str(caught.value)
