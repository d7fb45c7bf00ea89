"""A convolution with its normalisation, the building block of backbone, neck and heads.

Shapes: B batch, H W C of the input.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_mrcnn.layers.normalization import make_norm


def he_normal() -> keras.initializers.Initializer:
    """Returns a new initializer for a layer before a ReLU; layers that shared one would start with equal values."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


class ConvNorm(keras.layers.Layer):
    """Convolution with symmetric padding, followed by a normalisation; without one, the convolution has a bias.

    `SAME` padding would not do: on a strided convolution TensorFlow pads more on the right and bottom than other
    frameworks do, which shifts every map of an imported model.

    Args:
        channels: output channels of the convolution.
        kernel_size: side of the kernel.
        stride: step of the convolution in cells.
        norm: kind of normalisation, see `make_norm`, or None.
        epsilon: of the normalisation.
        initializer: of the kernel, by default `he_normal`; give each layer its own.

    Inputs and output: float [B, H, W, C] and [B, ceil(H / stride), ceil(W / stride), channels].
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        norm: str | None = None,
        epsilon: float = 1e-5,
        initializer: keras.initializers.Initializer | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        strided = stride > 1 and kernel_size > 1
        self.pad = keras.layers.ZeroPadding2D(kernel_size // 2) if strided else None
        # A strided 1x1 convolution reads every second cell only. Picking these cells first gives the same result, and
        # is safe: on CPUs and with fewer than 16 channels, TensorFlow's gradient of the strided convolution writes
        # past its memory.
        self.step = 1 if strided else stride
        self.conv = keras.layers.Conv2D(
            channels,
            kernel_size,
            strides=stride if strided else 1,
            padding="valid" if strided else "same",
            use_bias=norm is None,
            kernel_initializer=initializer or he_normal(),
            name="conv",
        )
        self.norm = None if norm is None else make_norm(norm, channels, epsilon, "norm")
        self.has_statistics = norm in ("bn", "sync_bn")
        self.is_affine = norm in (None, "frozen_bn")  # then it folds into one convolution with a bias

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the weights for inputs [B, H, W, C]."""
        # The shape with padding, for without it a 3x3 kernel would not fit a map of two rows.
        self.conv.build(input_shape if self.pad is None else self.pad.compute_output_shape(input_shape))
        if self.norm is not None:
            self.norm.build((*input_shape[:-1], self.conv.filters))
        super().build(input_shape)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the normalised convolution of a map."""
        if self.pad is not None:
            x = self.pad(x)
        if self.step > 1:
            x = x[:, :: self.step, :: self.step]
        if self.is_affine:
            kernel, bias = self.kernel_and_bias(x.dtype)
            return tf.nn.bias_add(self.conv.convolution_op(x, kernel), bias)
        x = self.conv(x)
        return self.norm(x, training=training) if self.has_statistics else self.norm(x)

    def kernel_and_bias(self, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns kernel [k, k, in, out] and bias [out] with the frozen norm folded in, rounded to `dtype`.

        Scaling the kernel costs less than scaling the whole map and gives the same gradients.

        Reference: Jacob et al., Quantization and Training of Neural Networks, 2018, section 3.2.
        """
        kernel = tf.convert_to_tensor(self.conv.kernel)
        if self.norm is None:
            bias = tf.convert_to_tensor(self.conv.bias)
        else:
            scale, bias = self.norm.scale_and_offset()
            kernel = tf.cast(kernel, scale.dtype) * scale
        return tf.cast(kernel, dtype), tf.cast(bias, dtype)

    def call_inside(self, x: tf.Tensor) -> tf.Tensor:
        """Computes the output of `call` without padding: only the cells whose whole neighbourhood lies in `x`.

        It needs a stride of 1 and a norm that is frozen or None.

        Args:
            x: float [B, H, W, C].

        Returns:
            float [B, H - k + 1, W - k + 1, channels] for a kernel of k x k.
        """
        kernel, bias = self.kernel_and_bias(x.dtype)
        return tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "VALID"), bias)
