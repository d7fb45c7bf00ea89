"""What every layer must do, checked in one place: serialise, build, run eagerly and in a graph, give float32."""

from __future__ import annotations

import json

import keras
import numpy as np
import tensorflow as tf

from keras_mrcnn.compat import dtype_policy


def check_layer(layer, *inputs, **kwargs):
    """Runs `layer(*inputs, **kwargs)` in all the ways that must agree.

    Args:
        layer: a Keras layer, built or not.
        inputs: call arguments, tensors or nested structures of tensors.
        kwargs: further call arguments.

    Returns:
        What the layer gave eagerly.
    """
    outputs = layer(*inputs, **kwargs)
    assert layer.built
    for value in tf.nest.flatten(outputs):
        assert value.dtype in (tf.float32, tf.int32), f"{layer.name} gives {value.dtype}"
        assert np.isfinite(value.numpy()).all(), f"{layer.name} gives values that are not finite"

    _assert_same(outputs, layer(*inputs, **kwargs), "a second call")
    _assert_same(outputs, tf.function(lambda *values: layer(*values, **kwargs))(*inputs), "a graph")

    for name, copy in (("from_config", _from_config(layer)), ("deserialize", _deserialised(layer))):
        assert copy.get_config() == layer.get_config(), f"{layer.name} loses settings in {name}"
        copy(*inputs, **kwargs)
        copy.set_weights(layer.get_weights())
        _assert_same(outputs, copy(*inputs, **kwargs), f"a copy by {name}")

    if type(layer).__module__.startswith("keras_mrcnn"):
        with dtype_policy("mixed_bfloat16"):
            settings = {name: value for name, value in layer.get_config().items() if name != "dtype"}
            mixed = type(layer).from_config(settings)
            mixed(*inputs, **kwargs)
        mixed.set_weights(layer.get_weights())
        _assert_same(outputs, mixed(*inputs, **kwargs), "mixed precision, in which our layers stay exact")
    return outputs


def _from_config(layer):
    # What cannot pass through JSON cannot be saved with a model.
    return type(layer).from_config(json.loads(json.dumps(layer.get_config())))


def _deserialised(layer):
    return keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))


def _assert_same(expected, actual, what):
    tf.nest.assert_same_structure(expected, actual)
    for a, b in zip(tf.nest.flatten(expected), tf.nest.flatten(actual)):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-4, atol=1e-4, err_msg=what)
