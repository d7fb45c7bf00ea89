"""Necks: they turn the maps of the backbone into those that the RPN and the heads read.

Shapes: B batch, H W of a map, C channels.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_mrcnn.layers.conv_norm import ConvNorm


class FPN(keras.Model):
    """Feature pyramid P2..P6 from C2..C5.

    Args:
        channels: of every output map.
        levels: number of input maps.
        norm, epsilon: of every convolution, see `make_norm`; without a norm they have biases.

    Call arguments:
        features: a list of maps [B, H, W, C], C2 first.
        training: whether norms with batch statistics use and update them, unless the pyramid is frozen.

    Returns:
        A list of maps [B, H, W, channels], one more than `features`: the last is the one before it at every other
        row and column.

    Reference: Lin et al., Feature Pyramid Networks, 2017, section 3.
    """

    def __init__(
        self,
        channels: int = 256,
        levels: int = 4,
        norm: str | None = None,
        epsilon: float = 1e-5,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        norms = {"norm": norm, "epsilon": epsilon}
        self.inner = [_conv(channels, 1, name=f"inner{i}", **norms) for i in range(levels)]
        self.layer = [_conv(channels, 3, name=f"layer{i}", **norms) for i in range(levels)]
        self.is_local = self.layer[0].is_affine  # then each cell depends on its neighbourhood alone, not the whole map
        self.built = True  # its layers build themselves; otherwise Keras 3 would first trace `call` to build them

    def call(self, features: list[tf.Tensor], training: bool = False) -> list[tf.Tensor]:
        """Returns the maps of the pyramid, P2 first."""
        merged = self.merge(features, training=training)
        outputs = [layer(fmap, training=training) for layer, fmap in zip(self.layer, merged)]
        return [*outputs, subsample(outputs[-1])]

    def merge(self, features: list[tf.Tensor], training: bool = False) -> list[tf.Tensor]:
        """Computes the top-down pathway without its last convolutions: a map [B, H, W, channels] for each feature."""
        merged = [self.inner[-1](features[-1], training=training)]
        for fmap, inner in list(zip(features, self.inner))[-2::-1]:
            lateral = inner(fmap, training=training)
            merged.insert(0, lateral + _upsample_to(merged[0], lateral))
        return merged


class C4(keras.Model):
    """Neck of the original Faster R-CNN: it passes on the C4 map, stride 16, unchanged.

    Reference: Ren et al., Faster R-CNN, 2015, section 3.
    """

    is_local = False  # it has no maps to merge

    def call(self, features: list[tf.Tensor], training: bool = False) -> list[tf.Tensor]:
        """Returns the last map alone."""
        return [features[-1]]


def subsample(fmap: tf.Tensor) -> tf.Tensor:
    """Returns a map [B, H, W, C] at every other row and column, as P6 is made from P5."""
    return fmap[:, ::2, ::2]


def _conv(channels: int, kernel_size: int, **kwargs: Any) -> ConvNorm:
    init = keras.initializers.VarianceScaling(1.0, "fan_in", "uniform")
    return ConvNorm(channels, kernel_size, initializer=init, **kwargs)


def _upsample_to(x: tf.Tensor, reference: tf.Tensor) -> tf.Tensor:
    """Upsamples to the size of `reference` by nearest neighbours."""
    return tf.image.resize(x, tf.shape(reference)[1:3], method="nearest")
