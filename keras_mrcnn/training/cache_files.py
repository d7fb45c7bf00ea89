"""Reads and writes the files of the feature cache: named arrays with checksums; a file is whole or missing.

A file is in the safetensors format, with a CRC-32 of each array in its metadata. Any number of processes may write to
one folder: each writes under a name of its own and renames the file when it is whole.
"""

from __future__ import annotations

import contextlib
import time
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from keras_mrcnn.base.atomic_files import atomic_write
from keras_mrcnn.base.errors import UserError

# A file in every cache folder; only folders with it are removed. (Backup programs know the file, too.)
MARK, MARK_TEXT = "CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n# A feature cache of keras_mrcnn.\n"
SUFFIX = ".safetensors"
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


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a dict of arrays. Raises `CacheError`."""
    # Not ascontiguousarray, which turns scalars into vectors.
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    content = save(arrays, {name: _checksum(array) for name, array in arrays.items()})
    try:
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise CacheError(
            f"{path}: cannot be written ({error.strerror}); make room and go on with --resume, or name another disk "
            "with train.cache_folder"
        ) from None


def is_whole(path: Path, names: Collection[str]) -> bool:
    """Returns whether a file exists in full length with the arrays `names`; it does not compare checksums."""
    try:
        with safe_open(path, framework="numpy") as file:
            return set(file.keys()) == set(names)
    except (SafetensorError, OSError):
        return False


def read_arrays(path: Path, names: Collection[str]) -> list[np.ndarray]:
    """Reads the arrays `names`, in that order. Raises `CacheError` if the file is missing or damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            checksums = file.metadata() or {}
            return [_checked(name, file.get_tensor(name), checksums.get(name)) for name in names]
    except Exception as error:  # damaged files raise various errors in safetensors and NumPy
        reason = " ".join(str(error).split())
        raise CacheError(
            f"the feature cache file {path} cannot be read ({reason}); delete it and go on with --resume, which writes "
            "it anew"
        ) from None


def _checked(name: str, array: np.ndarray, checksum: str | None) -> np.ndarray:
    if _checksum(array) != checksum:
        raise ValueError(f"the checksum of {name} is wrong")
    return array


def _checksum(array: np.ndarray) -> str:
    """Returns a checksum with dtype and shape, since an array of equal length could have others."""
    return f"{zlib.crc32(array.reshape(-1).view(np.uint8)):08x} {array.dtype.str} {array.shape}"


def cache_reading_error(error: Exception) -> str | None:
    """Finds the sentence about a broken cache file in the long message of TensorFlow's exception.

    Args:
        error: exception of `fit`, or of an iteration over `FeatureCache.dataset`.

    Returns:
        the sentence, or None if the error has another cause.
    """
    _, separator, rest = str(error).partition("CacheError: ")
    return rest.partition("\n")[0] if separator else None


def _seconds_since_change(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:  # its writer has just renamed it
        return 0.0
