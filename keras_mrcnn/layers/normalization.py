"""The four normalisations of the backbone."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("keras_mrcnn")
class FrozenBatchNormalization(keras.layers.Layer):
    """Batch normalisation whose statistics and affine parameters are constants of the model.

    Small batches of large images give poor statistics, so detectors keep those from ImageNet.

    Args:
        epsilon: added to the variance.

    Inputs and output: float [B, H, W, C]; the gradient flows to the input only.

    Reference: He et al., Deep Residual Learning, 2016, section 4.3 ("BN layers are fixed").
    """

    def __init__(self, epsilon: float = 1e-5, dtype: Any = "float32", **kwargs: Any):
        # The constants stay in float32 under every dtype policy; only their product is rounded.
        super().__init__(dtype=dtype, autocast=False, **kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the four constants [C] for inputs [B, H, W, C]."""
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=shape, initializer="ones", trainable=False)
        self.beta = self.add_weight(name="beta", shape=shape, initializer="zeros", trainable=False)
        self.moving_mean = self.add_weight(name="moving_mean", shape=shape, initializer="zeros", trainable=False)
        self.moving_variance = self.add_weight(name="moving_variance", shape=shape, initializer="ones", trainable=False)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the normalised map."""
        scale, offset = self.scale_and_offset()
        return inputs * tf.cast(scale, inputs.dtype) + tf.cast(offset, inputs.dtype)

    def scale_and_offset(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the factor and the summand of each channel, float32 [C] each."""
        variance = tf.convert_to_tensor(self.moving_variance)
        scale = tf.convert_to_tensor(self.gamma) * tf.math.rsqrt(variance + tf.cast(self.epsilon, variance.dtype))
        return scale, tf.convert_to_tensor(self.beta) - tf.convert_to_tensor(self.moving_mean) * scale

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns `input_shape`, which the layer does not change."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make this layer anew."""
        return {**super().get_config(), "epsilon": self.epsilon}


def make_norm(kind: str, channels: int, epsilon: float, name: str) -> keras.layers.Layer:
    """Makes a normalisation layer for maps [B, H, W, channels].

    Args:
        kind: "frozen_bn", "bn", "sync_bn" (statistics over all replicas) or "group_norm" (32 groups, or the next
            smaller number that divides the channels).
        channels: number of channels.
        epsilon: added to the variance.
        name: of the layer.

    Returns:
        A Keras layer.

    Reference: Wu and He, Group Normalization, 2018.
    """
    if kind == "frozen_bn":
        return FrozenBatchNormalization(epsilon=epsilon, name=name)
    if kind == "group_norm":
        groups = next(g for g in range(min(32, channels), 0, -1) if channels % g == 0)
        return keras.layers.GroupNormalization(groups=groups, epsilon=epsilon, name=name)
    # 0.9 is the momentum that torch calls 0.1.
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=epsilon, synchronized=kind == "sync_bn", name=name)
