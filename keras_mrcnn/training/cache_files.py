"""Reads and writes the files of the feature cache: tensors with checksums; a file is whole or missing.

A file is a TFRecord file with a serialised tensor in each record, so that TensorFlow reads it without Python. Any
number of processes may write to one folder: each writes under a name of its own and renames the file when it is whole.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from keras_mrcnn.base.atomic_files import atomic_write
from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.shards import RECORD_END, RECORD_START

# A file in every cache folder; only folders with it are removed. (Backup programs know the file, too.)
MARK, MARK_TEXT = "CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n# A feature cache of keras_mrcnn.\n"
SUFFIX = ".tfrecord"
BUFFER_BYTES = 2**22
STALE_SECONDS = 3600  # a temporary file of this age has no writer any more


class CacheError(UserError):
    """A cache that cannot be made or read; the message says why and what to do."""


def make_folder(folder: Path) -> None:
    """Makes a cache folder, and deletes the temporary files of interrupted processes. Raises `CacheError`."""
    try:
        ours = [path for path in (folder.parent, folder) if not path.is_dir()]
        folder.mkdir(parents=True, exist_ok=True)
        if not any(folder.iterdir()):  # also if a process ended exactly here
            ours.append(folder)
        for path in ours:
            (path / MARK).write_text(MARK_TEXT, encoding="utf-8")
    except OSError as error:
        raise CacheError(
            f"{folder}: cannot be made ({error.strerror}); name another place with train.cache_folder, or set "
            "train.cache_features=off"
        ) from None
    for temporary in folder.glob("*.tmp"):
        if _seconds_since_change(temporary) > STALE_SECONDS:
            temporary.unlink(missing_ok=True)


def remove_folders(root: Path) -> None:
    """Removes the cache folders in `root` that `make_folder` made, and `root` itself if `make_folder` made it.

    Only cache files are deleted. Other files stay, and so does the folder that holds them.
    """
    for folder in filter(_is_marked, root.glob("*")):
        for pattern in (f"[0-9]*-*{SUFFIX}", f".*{SUFFIX}.*.tmp"):
            for path in folder.glob(pattern):
                path.unlink(missing_ok=True)
        _remove_if_empty(folder)
    if _is_marked(root):
        _remove_if_empty(root)


def _remove_if_empty(folder: Path) -> None:
    if [path.name for path in folder.iterdir()] == [MARK]:
        (folder / MARK).unlink()
        with contextlib.suppress(OSError):  # another process has just written a file into it
            folder.rmdir()


def _is_marked(folder: Path) -> bool:
    try:
        return not folder.is_symlink() and (folder / MARK).read_text(encoding="utf-8") == MARK_TEXT
    except (OSError, UnicodeDecodeError):
        return False


def write_tensors(path: Path, tensors: Sequence[tf.Tensor]) -> None:
    """Writes tensors, in order. Raises `CacheError`."""
    try:
        with atomic_write(path) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
            for tensor in tensors:
                writer.write(tf.io.serialize_tensor(tensor).numpy())
    except (OSError, tf.errors.OpError) as error:
        reason = error.strerror if isinstance(error, OSError) else error.message
        raise CacheError(
            f"{path}: cannot be written ({reason}); make room and go on with --resume, or name another disk with "
            "train.cache_folder"
        ) from None


def is_whole(path: Path, count: int) -> bool:
    """Returns whether a file of `count` tensors exists in full length; it does not compare checksums."""
    try:
        size, end = path.stat().st_size, 0
        with open(path, "rb") as file:
            for _ in range(count):
                file.seek(end)
                end += RECORD_START + int.from_bytes(file.read(8), "little") + RECORD_END
                if end > size:  # also where the length itself is damaged
                    return False
    except OSError:
        return False
    return end == size


def read_tensors(path: tf.Tensor, dtypes: Sequence[tf.DType]) -> list[tf.Tensor]:
    """Reads the tensors of a file with TensorFlow operations, which compare the checksums.

    Args:
        path: string [].
        dtypes: dtype of each tensor, in order.

    Returns:
        The tensors. Reading a file that is missing or damaged raises tf.errors.OpError; `check_file` then says why.
    """
    records = tf.data.TFRecordDataset(path, buffer_size=BUFFER_BYTES).batch(len(dtypes)).get_single_element()
    records = tf.ensure_shape(records, [len(dtypes)])
    return [tf.io.parse_tensor(record, dtype) for record, dtype in zip(tf.unstack(records), dtypes)]


def check_file(path: Path, dtypes: Sequence[tf.DType]) -> None:
    """Reads a file completely. Raises `CacheError` if it is missing or damaged."""
    try:
        read_tensors(tf.constant(str(path)), dtypes)
    except (tf.errors.OpError, ValueError) as error:
        raise CacheError(
            f"the feature cache file {path} cannot be read ({_reason(error)}); delete it and go on with --resume, "
            "which writes it anew"
        ) from None


def _reason(error: Exception) -> str:
    """Returns the message of an error in one line, without the names of TensorFlow's operations."""
    message = re.sub(r"\{\{.*?\}\}|\[Op:\w*\]( name:)?", "", getattr(error, "message", str(error)))
    return " ".join(message.split())


def _seconds_since_change(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:  # its writer has just renamed it
        return 0.0
