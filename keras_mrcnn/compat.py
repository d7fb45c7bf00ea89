"""The one place that asks which Keras is installed, and on which backend it runs.

Everything else runs unchanged on Keras 2.15 and on Keras 3; read `KERAS_3` only where no code works on both. The parts
that use Keras import this file first, so that it refuses other backends at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from keras_mrcnn.base.errors import UserError

OTHER_BACKENDS = ("jax", "jaxlib", "torch", "openvino", "numpy")


def _wrong_backend(name: str) -> UserError:
    return UserError(
        f"Keras is set to the backend {name}, but keras_mrcnn runs on TensorFlow; set KERAS_BACKEND=tensorflow, or "
        '"backend": "tensorflow" in ~/.keras/keras.json'
    )


try:
    import keras
except ModuleNotFoundError as error:  # Keras itself fails where its backend is not installed
    if error.name in OTHER_BACKENDS:
        raise _wrong_backend(error.name) from None
    raise
if keras.backend.backend() != "tensorflow":
    raise _wrong_backend(keras.backend.backend())

KERAS_3: bool = int(keras.__version__.split(".")[0]) >= 3


@contextlib.contextmanager
def dtype_policy(name: Any) -> Iterator[None]:
    """Makes a Keras dtype policy the global one inside a `with` statement.

    Args:
        name: of the policy, for example "mixed_bfloat16", or the policy itself.
    """
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


def leave_out_memory_optimizer() -> None:
    """Turns off the graph rewriting that swaps memory between devices, where it complains about our graphs.

    In TensorFlow 2.15 it cannot estimate the cost of `crop_and_resize` for an unknown number of boxes, and prints
    "Error in PredictCost()" for each. It would only swap tensors that it estimates to be too large for a GPU. Call this
    function before TensorFlow has computed anything.
    """
    if KERAS_3:
        return
    import tensorflow as tf
    from tensorflow.python.eager import context

    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.memory_optimization = 1  # RewriterConfig.NO_MEM_OPT
    # No public function sets this option, and TensorFlow 2.15 will not change any more.
    context.context()._config = config
