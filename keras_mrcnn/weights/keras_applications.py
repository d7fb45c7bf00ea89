"""Weights trained on ImageNet, from `keras.applications`.

Its ResNets take BGR images minus a mean and have convolution biases and another batch-norm epsilon. All of this is
folded into the weights of our own ResNets, so that our normalised RGB images give the same maps. Other networks keep
their weights unchanged.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import keras
import numpy as np

from keras_mrcnn.compat import dtype_policy
from keras_mrcnn.layers.conv_norm import ConvNorm
from keras_mrcnn.models.applications import FunctionalBackbone, make_application
from keras_mrcnn.models.resnet import ResNet
from keras_mrcnn.ops.pixels import PIXEL_MEAN, PIXEL_STD
from keras_mrcnn.weights.names import network_weights
from keras_mrcnn.weights.native import WeightsError, assign_entries, value_of

MODELS = {50: "ResNet50", 101: "ResNet101"}
MEAN_BGR = np.array([103.939, 116.779, 123.68])
# Our images are normalised as (x / 255 - mean) / std, RGB.
OUR_MEAN, OUR_STD = np.array(PIXEL_MEAN), np.array(PIXEL_STD)
EPSILON = 1.001e-5


def load_imagenet(backbone: ResNet, source: str = "imagenet") -> None:
    """Fills a ResNet with the weights of the `keras.applications` model of the same depth.

    Args:
        backbone: `ResNet` of depth 50 or 101, width 1, stride in the 1x1 convolution (as Keras trained it) and any
            batch norm.
        source: "imagenet", which Keras downloads and keeps, or a file with such weights (`include_top=False`).

    Raises:
        WeightsError: `keras.applications` has no such ResNet, or the file cannot be downloaded or read.

    Reference: He et al., Deep Residual Learning, 2016; `keras.applications.resnet`.
    """
    _check(backbone)
    trained = _trained(functools.partial(make_application, MODELS[backbone.depth], {}), source)
    _fold_stem(backbone.stem, trained)
    for stage, blocks in enumerate(backbone.stages, start=2):
        for index, block in enumerate(blocks, start=1):
            for number, conv in enumerate(block.convs, start=1):
                _fold(conv, trained, f"conv{stage}_block{index}_{number}")
            if block.shortcut is not None:
                _fold(block.shortcut, trained, f"conv{stage}_block{index}_0")


def load_application(backbone: FunctionalBackbone, source: str) -> None:
    """Fills a network of `keras.applications` with its published weights or with those of a file.

    Args:
        backbone: one that was made by name.
        source: "imagenet", which Keras downloads and keeps, or a file with such weights (`include_top=False`).

    Raises:
        WeightsError: the weights cannot be downloaded or read, or belong to another network.
    """
    if backbone.make_trained is None:
        raise WeightsError(f"{source}: load it into your network before you pass that to MaskRCNN")
    trained, entries = network_weights(_trained(backbone.make_trained, source)), network_weights(backbone.body)
    values = {name: value_of(entry.variable) for name, entry in trained.items() if name in entries}
    assign_entries(entries, values, source)


def adapt_first_kernel(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Adapts a kernel for RGB to pictures with other channels, so that its maps keep their scale.

    Grey pictures get the sum over the colours, as if they were RGB. A fourth channel gets zeros: the network starts
    from its output for RGB and learns to use the rest.

    Args:
        kernel: float [h, w, 3, out].
        channels: 1, 3 or 4.

    Returns:
        float [h, w, channels, out].
    """
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    return np.pad(kernel, [(0, 0), (0, 0), (0, channels - 3), (0, 0)])


def _trained(make: Callable[..., keras.Model], source: str) -> keras.Model:
    """Returns a network of `keras.applications` with weights, in float32. Raises `WeightsError`."""
    try:
        with dtype_policy("float32"):
            return make(weights=source)
    except Exception as error:  # downloads and HDF5 fail in many ways, which mean the same to the user
        raise WeightsError(
            f"model.backbone.weights {source}: cannot be had or read ({' '.join(str(error).split())[:200]}); check the "
            "network or the file, or set model.backbone.weights=null to start from random weights"
        ) from error


def _check(backbone: ResNet) -> None:
    if backbone.depth not in MODELS:
        raise WeightsError(f"keras.applications has no ResNet-{backbone.depth}; set model.backbone.depth to 50 or 101")
    if backbone.stem.conv.filters != 64:
        raise WeightsError("ImageNet weights are for model.backbone.width 1; set that, or model.backbone.weights=null")
    if backbone.stride_in != "1x1":
        raise WeightsError("keras.applications strides in the 1x1 convolution; set model.backbone.stride_in to 1x1")
    if not hasattr(backbone.stem.norm, "moving_mean"):
        raise WeightsError("ImageNet weights hold batch norms; set model.backbone.norm to frozen_bn, bn or sync_bn")


def _fold_stem(stem: ConvNorm, trained: keras.Model) -> None:
    """Fills the stem as `_fold` does, with the images' normalisation folded into the kernel and the mean."""
    kernel, bias = (value_of(v) for v in trained.get_layer("conv1_conv").weights)
    kernel = kernel[:, :, ::-1, :]  # BGR to RGB
    # Their input is 255 * std * ours + 255 * mean - their mean. The constant is below half a grey level, so it does
    # not matter that the zero padding lacks it.
    constant = 255 * OUR_MEAN - MEAN_BGR[::-1]
    bias = bias + np.einsum("hwio,i->o", kernel, constant)
    kernel = adapt_first_kernel(kernel * (255 * OUR_STD)[:, None], stem.conv.kernel.shape[2])
    _assign(stem, kernel, bias, trained.get_layer("conv1_bn"))


def _fold(conv_norm: ConvNorm, trained: keras.Model, name: str) -> None:
    """Fills a `ConvNorm` with the convolution and the norm called `name`."""
    kernel, bias = (value_of(v) for v in trained.get_layer(f"{name}_conv").weights)
    _assign(conv_norm, kernel, bias, trained.get_layer(f"{name}_bn"))


def _assign(conv_norm: ConvNorm, kernel: np.ndarray, bias: np.ndarray, trained_norm: keras.layers.Layer) -> None:
    """Assigns kernel and norm; the norm's statistics take in the bias and the difference in epsilon."""
    gamma, beta, mean, variance = (value_of(v) for v in trained_norm.weights)
    norm = conv_norm.norm
    conv_norm.conv.kernel.assign(kernel)
    norm.gamma.assign(gamma)
    norm.beta.assign(beta)
    norm.moving_mean.assign(mean - bias)
    norm.moving_variance.assign(variance + EPSILON - norm.epsilon)
