"""ResNet v1.5 backbones.

Shapes: B batch, H W of the input.
"""

import itertools

import keras

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
    """Two 3x3 convolutions, or a bottleneck of 1x1, 3x3, 1x1, around a shortcut.

    Args:
        channels: of the inner convolutions; a bottleneck gives four times as many.
        stride: 1 or 2.
        bottleneck: bool.
        project: whether the shortcut has a 1x1 convolution.
        stride_in: "3x3" or "1x1", which convolution of a bottleneck carries the stride.
        norm, epsilon: see `make_norm`.

    Reference: He et al., Deep Residual Learning, 2016, figure 5.
    """

    def __init__(self, channels, *, stride, bottleneck, project, stride_in, norm, epsilon, **kwargs):
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
        self.built = True  # its layers build themselves; Keras 3 would trace `call` once more for each level

    def call(self, x, training=False):
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
        width: multiplies every channel count.
        stages: how many of the five stages to make: 5 for FPN, 4 for the C4 map.
        stride_in: "3x3" (v1.5) or "1x1" (the original paper).
        norm, epsilon: see `make_norm`.

    Call arguments:
        images: float [B, H, W, C], normalised.
        training: whether batch statistics are used and moved, where `norm` has any and the part is not frozen.

    Returns:
        A list of maps C2, C3, ... of strides 4, 8, ..., finest first.

    Reference: He et al., Deep Residual Learning, 2016, table 1.
    """

    def __init__(self, depth=50, width=1.0, stages=5, stride_in="3x3", norm="frozen_bn", epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.depth, self.stride_in = depth, stride_in
        counts, bottleneck = ARCHITECTURES[depth]
        base = max(1, round(64 * width))
        norms = {"norm": norm, "epsilon": epsilon}
        self.stem = ConvNorm(base, 7, stride=2, name="stem", **norms)
        self.relu = keras.layers.ReLU()
        # After a ReLU nothing is below zero, so zero padding serves the maximum as well as minus infinity.
        self.pool_pad = keras.layers.ZeroPadding2D(1)
        self.pool = keras.layers.MaxPooling2D(3, strides=2)
        self.counts = counts[: stages - 1]
        # One flat list, for Keras saves no weights of lists in lists.
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
        self.built = True  # its layers build themselves; Keras 3 would trace `call` once more for each level

    @property
    def stages(self) -> list[list[ResidualBlock]]:
        """The blocks of stage 2, of stage 3, and so on."""
        ends = list(itertools.accumulate(self.counts))
        return [list(self.blocks[end - count : end]) for count, end in zip(self.counts, ends)]

    def call(self, images, training=False):
        x = self.relu(self.stem(images, training=training))
        x = self.pool(self.pool_pad(x))
        maps = []
        for blocks in self.stages:
            for block in blocks:
                x = block(x, training=training)
            maps.append(x)
        return maps

    def freeze(self, count):
        """Freezes the first `count` stages (1 is the stem) and makes the others trainable."""
        parts = [[self.stem], *self.stages]
        for index, layers in enumerate(parts):
            for layer in layers:
                layer.trainable = index >= count
