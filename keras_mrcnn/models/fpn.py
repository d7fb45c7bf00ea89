"""Necks: what turns backbone maps into those that RPN and heads look at.

Shapes: B batch, H W of a map, C channels.
"""

import keras
import tensorflow as tf

from keras_mrcnn.layers.conv_norm import ConvNorm


class FPN(keras.Model):
    """Feature pyramid P2..P6 from C2..C5.

    Args:
        channels: of every map.
        levels: how many maps come in.
        norm, epsilon: of every convolution, see `make_norm`; by default biases instead.

    Call arguments:
        features: a list of maps [B, H, W, C], C2 first.
        training: whether batch statistics are used and moved, where `norm` has any and the part is not frozen.

    Returns:
        A list of maps [B, H, W, channels], one more than `features`: the last is the one before it at every other
        row and column.

    Reference: Lin et al., Feature Pyramid Networks, 2017, section 3.
    """

    def __init__(self, channels=256, levels=4, norm=None, epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        # Each cell then depends on its neighbourhood alone, not on the whole map.
        self.is_local = norm in (None, "frozen_bn")
        norms = {"norm": norm, "epsilon": epsilon}
        self.inner = [_conv(channels, 1, name=f"inner{i}", **norms) for i in range(levels)]
        self.layer = [_conv(channels, 3, name=f"layer{i}", **norms) for i in range(levels)]
        self.built = True  # its layers build themselves; Keras 3 would trace `call` once more for each level

    def call(self, features, training=False):
        merged = self.merge(features, training=training)
        outputs = [layer(fmap, training=training) for layer, fmap in zip(self.layer, merged)]
        return [*outputs, subsample(outputs[-1])]

    def merge(self, features, training=False):
        """The top-down pathway before its last convolutions: as many maps as `features`, each of `channels`."""
        merged = [self.inner[-1](features[-1], training=training)]
        for fmap, inner in list(zip(features, self.inner))[-2::-1]:
            lateral = inner(fmap, training=training)
            merged.insert(0, lateral + _upsample_to(merged[0], lateral))
        return merged


class C4(keras.Model):
    """The single map of the original Faster R-CNN: C4, stride 16, as it is.

    Reference: Ren et al., Faster R-CNN, 2015, section 3.
    """

    is_local = False  # it has no maps to merge

    def call(self, features, training=False):
        return [features[-1]]


def subsample(fmap):
    """A map [B, H, W, C] at every other row and column: P6 from P5."""
    return fmap[:, ::2, ::2]


def _conv(channels, kernel_size, **kwargs):
    init = keras.initializers.VarianceScaling(1.0, "fan_in", "uniform")
    return ConvNorm(channels, kernel_size, initializer=init, **kwargs)


def _upsample_to(x, reference):
    """Nearest neighbour to the size of `reference`."""
    return tf.image.resize(x, tf.shape(reference)[1:3], method="nearest")
