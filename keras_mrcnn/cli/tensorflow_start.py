"""Imports TensorFlow for a command, without the lines that its C++ libraries print.

These lines look like errors but are harmless: libraries that register twice, a search for GPUs on a machine without
one. Real failures reach Python as exceptions.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from keras_mrcnn.base.errors import UserError

NVIDIA_DRIVER = Path("/dev/nvidiactl")  # exists where a driver is loaded
LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def import_tensorflow() -> None:
    """Imports TensorFlow and Keras; every command that needs them calls this first.

    If the user has set TF_CPP_MIN_LOG_LEVEL, all lines of that level are printed. If TensorFlow is imported already,
    this only checks Keras.

    Raises:
        UserError: Keras runs on a backend other than TensorFlow.
    """
    if "tensorflow" in sys.modules:
        import keras_mrcnn.compat  # noqa: F401

        return
    wants_lines = LOG_LEVEL in os.environ
    os.environ.setdefault(LOG_LEVEL, "2")  # TensorFlow reads it when it is imported
    with contextlib.nullcontext() if wants_lines else _held_back_stderr():
        has_gpu = _import()
    if not has_gpu and NVIDIA_DRIVER.exists() and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1"):
        click.echo(f"TensorFlow does not use the GPU of this machine; set {LOG_LEVEL}=0 to see why.", err=True)


def _import():
    """Imports both and returns whether TensorFlow has a GPU; the first search for one also prints lines."""
    from keras_mrcnn import compat  # before TensorFlow, because it refuses other backends at once

    compat.leave_out_memory_optimizer()
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


@contextlib.contextmanager
def _held_back_stderr() -> Iterator[None]:
    """Holds back the output to file descriptor 2, and prints it only if the block fails unexpectedly."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except UserError:
            raise
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
