"""Reads and writes the small files of prepared data, on any file system that TensorFlow knows (gs:// and the like)."""

from __future__ import annotations

import os

import tensorflow as tf


def read_bytes(path: str) -> bytes:
    """Returns the content of a file. Raises tf.errors.OpError if it cannot be read."""
    with tf.io.gfile.GFile(path, "rb") as file:
        return file.read()


def write_bytes(path: str, content: bytes) -> None:
    """Writes a file that appears under its name complete. Raises tf.errors.OpError if it cannot be written."""
    temporary = f"{path}.{os.getpid()}.tmp"
    with tf.io.gfile.GFile(temporary, "wb") as file:
        file.write(content)
    tf.io.gfile.rename(temporary, path, overwrite=True)


def join(folder: str, name: str) -> str:
    """Returns the path of a file in a folder, which may be a URL."""
    return f"{folder.rstrip('/')}/{name}"
