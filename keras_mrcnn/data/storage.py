"""Reads and writes the small files of prepared data, on any file system that TensorFlow knows (gs:// and the like)."""

from __future__ import annotations

import secrets

import tensorflow as tf


def read_bytes(path: str) -> bytes:
    """Returns the content of a file. Raises tf.errors.OpError if it cannot be read."""
    with tf.io.gfile.GFile(path, "rb") as file:
        return file.read()


def write_bytes(path: str, content: bytes) -> None:
    """Writes a file that appears under its name complete. Raises tf.errors.OpError if it cannot be written."""
    temporary = temporary_path(path)
    with tf.io.gfile.GFile(temporary, "wb") as file:
        file.write(content)
    publish(temporary, path)


def temporary_path(path: str) -> str:
    """Returns a path to write a file to until it is complete, another one each time: PATH.*.tmp."""
    # A process id would not be unique among machines that share a disk.
    return f"{path}.{secrets.token_hex(4)}.tmp"


def publish(temporary: str, path: str) -> None:
    """Gives a complete file its name; replaces the one that has it.

    Several processes may write the same file. The first that ends removes what it takes for left over, so the
    temporary file may be gone; then the file of the other process is there.
    """
    try:
        tf.io.gfile.rename(temporary, path, overwrite=True)
    except tf.errors.NotFoundError:
        if not tf.io.gfile.exists(path):
            raise


def join(folder: str, name: str) -> str:
    """Returns the path of a file in a folder, which may be a URL."""
    return f"{folder.rstrip('/')}/{name}"
