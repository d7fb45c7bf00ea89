"""The one place that asks which Keras is installed.

Everything else runs unchanged on Keras 2.15 and on Keras 3; read `KERAS_3` only where no spelling serves both.
"""

from __future__ import annotations

import contextlib

import keras

KERAS_3: bool = int(keras.__version__.split(".")[0]) >= 3


@contextlib.contextmanager
def dtype_policy(name):
    """Layers made inside compute under this Keras dtype policy, for example "mixed_bfloat16"."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)
