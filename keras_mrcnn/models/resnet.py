"""ResNet v1.5 backbones.

Shapes: B batch, H W of the input.
"""

from __future__ import annotations

import itertools
from typing import Any

import keras
import tensorflow as tf

from keras_mrcnn.layers.conv_norm import ConvNorm

# depth: (blocks of stages 2 to 5, whether blocks are bottlenecks)
ARCHITECTURES = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
}
EXPANSION = 4


class ResidualBlock(keras.layers.Layer):
    """Residual block: two 3x3 convolutions, or a bottleneck of 1x1, 3x3 and 1x1, with a shortcut.

    Args:
        channels: output channels of the inner convolutions; a bottleneck ends with four times as many.
        stride: 1 or 2.
        bottleneck: whether the block is a bottleneck.
        project: whether the shortcut has a 1x1 convolution.
        stride_in: "3x3" or "1x1", the convolution of a bottleneck that carries the stride.
        norm, epsilon: see `make_norm`.

    Reference: He et al., Deep Residual Learning, 2016, figure 5.
    """

    def __init__(
        self,
        channels: int,
        *,
        stride: int,
        bottleneck: bool,
        project: bool,
        stride_in: str,
        norm: str,
        epsilon: float,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        norms = {"norm": norm, "epsilon": epsilon}
        if bottleneck:
            first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
            out = channels * EXPANSION
            self.convs = [
                ConvNorm(channels, 1, stride=first, name="conv1", **norms),
                ConvNorm(channels, 3, stride=second, name="conv2", **norms),
                ConvNorm(out, 1, name="conv3", **norms),
            ]
        else:
            out = channels
            self.convs = [
                ConvNorm(channels, 3, stride=stride, name="conv1", **norms),
                ConvNorm(channels, 3, name="conv2", **norms),
            ]
        self.shortcut = ConvNorm(out, 1, stride=stride, name="downsample", **norms) if project else None
        self.relu = keras.layers.ReLU()
        self.out_channels = out
        self.built = True  # its layers build themselves; otherwise Keras 3 would first trace `call` to build them

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the output of the block."""
        residual = x
        for conv in self.convs[:-1]:
            residual = self.relu(conv(residual, training=training))
        residual = self.convs[-1](residual, training=training)
        shortcut = x if self.shortcut is None else self.shortcut(x, training=training)
        return self.relu(residual + shortcut)


class ResNet(keras.Model):
    """ResNet without its classifier.

    Args:
        depth: 18, 34, 50 or 101.
        width: factor on every channel count.
        stages: number of stages: 5 for FPN, 4 to end with the C4 map.
        stride_in: "3x3" (v1.5) or "1x1" (the original paper).
        norm, epsilon: see `make_norm`.

    Call arguments:
        images: float [B, H, W, C], normalised.
        training: whether norms with batch statistics use and update them, in stages that are not frozen.

    Returns:
        A list of maps C2, C3, ... of strides 4, 8, ..., finest first.

    Reference: He et al., Deep Residual Learning, 2016, table 1.
    """

    def __init__(
        self,
        depth: int = 50,
        width: float = 1.0,
        stages: int = 5,
        stride_in: str = "3x3",
        norm: str = "frozen_bn",
        epsilon: float = 1e-5,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.depth, self.stride_in = depth, stride_in
        counts, bottleneck = ARCHITECTURES[depth]
        base = max(1, round(64 * width))
        norms = {"norm": norm, "epsilon": epsilon}
        self.stem = ConvNorm(base, 7, stride=2, name="stem", **norms)
        self.relu = keras.layers.ReLU()
        # After a ReLU nothing is below zero, so a maximum may be padded with zero instead of minus infinity.
        self.pool_pad = keras.layers.ZeroPadding2D(1)
        self.pool = keras.layers.MaxPooling2D(3, strides=2)
        self.counts = counts[: stages - 1]
        # One flat list, because Keras saves no weights of nested lists.
        self.blocks = [
            ResidualBlock(
                base * 2**stage,
                stride=2 if stage > 0 and index == 0 else 1,
                bottleneck=bottleneck,
                project=index == 0 and (stage > 0 or bottleneck),
                stride_in=stride_in,
                name=f"stage{stage + 2}_block{index + 1}",
                **norms,
            )
            for stage, count in enumerate(self.counts)
            for index in range(count)
        ]
        self.channels = tuple(blocks[-1].out_channels for blocks in self.stages)
        self.built = True  # its layers build themselves; otherwise Keras 3 would first trace `call` to build them

    @property
    def stages(self) -> list[list[ResidualBlock]]:
        """Returns the blocks of stage 2, of stage 3, and so on."""
        ends = list(itertools.accumulate(self.counts))
        return [list(self.blocks[end - count : end]) for count, end in zip(self.counts, ends)]

    def call(self, images: tf.Tensor, training: bool = False) -> list[tf.Tensor]:
        """Returns the maps of the images, finest first."""
        x = self.relu(self.stem(images, training=training))
        x = self.pool(self.pool_pad(x))
        maps = []
        for blocks in self.stages:
            for block in blocks:
                x = block(x, training=training)
            maps.append(x)
        return maps

    def freeze(self, count: int) -> None:
        """Freezes the first `count` stages, of which the stem is one, and makes the others trainable."""
        parts = [[self.stem], *self.stages]
        for index, layers in enumerate(parts):
            for layer in layers:
                layer.trainable = index >= count
