"""The files of the feature cache: named arrays, whole or not there at all, with checksums.

A file is an uncompressed .npz of NumPy. Any number of processes may write to one folder: each writes under a name of
its own and renames what is whole.
"""

import contextlib
import threading
import time
import zipfile

import numpy as np

from keras_mrcnn.base.atomic_files import atomic_write
from keras_mrcnn.base.errors import UserError

_HEADERS = threading.Lock()
# In every folder of cache files that we make; only such folders are removed. (Backup programs know the file too.)
MARK, MARK_TEXT = "CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n# A feature cache of keras_mrcnn.\n"
STALE_SECONDS = 3600  # age of a temporary file that nobody writes to any more


class CacheError(UserError):
    """A cache that cannot be made or read; the message says why and what to do."""


def make_folder(folder):
    """Makes a folder, and frees it of what interrupted processes left half-written. Raises `CacheError`."""
    try:
        ours = [path for path in (folder.parent, folder) if not path.is_dir()]
        folder.mkdir(parents=True, exist_ok=True)
        if not any(folder.iterdir()):  # also where a process ended just here
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


def remove_folders(root):
    """Removes the cache folders in `root` that `make_folder` made, and `root` itself if that was made so too.

    Only cache files go. What others have put beside them stays, and so does the folder that holds it.
    """
    for folder in filter(_is_marked, root.glob("*")):
        for pattern in ("[0-9]*-*.npz", ".*.npz.*.tmp"):
            for path in folder.glob(pattern):
                path.unlink(missing_ok=True)
        _remove_if_empty(folder)
    if _is_marked(root):
        _remove_if_empty(root)


def _remove_if_empty(folder):
    if [path.name for path in folder.iterdir()] == [MARK]:
        (folder / MARK).unlink()
        with contextlib.suppress(OSError):  # somebody has just put something into it
            folder.rmdir()


def _is_marked(folder):
    try:
        return not folder.is_symlink() and (folder / MARK).read_text(encoding="utf-8") == MARK_TEXT
    except (OSError, UnicodeDecodeError):
        return False


def write_arrays(path, arrays):
    """Writes a dict of arrays. Raises `CacheError`."""
    try:
        with atomic_write(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **arrays)
    except OSError as error:
        raise CacheError(
            f"{path}: cannot be written ({error.strerror}); make room and go on with --resume, or name another disk "
            "with train.cache_folder"
        ) from None


def is_whole(path, names):
    """Whether a file is there and ends where it should, with the arrays of those names; sums are not compared."""
    try:
        with zipfile.ZipFile(path) as file:
            return set(file.namelist()) == {f"{name}.npy" for name in names}
    except Exception:  # whatever zipfile trips over in a file that is none
        return False


def read_arrays(path, names):
    """The arrays of those names, in that order. Raises `CacheError` if the file is missing or damaged."""
    try:
        with zipfile.ZipFile(path) as file:
            return [_read_array(file, f"{name}.npy") for name in names]
    except Exception as error:  # whatever NumPy and zipfile trip over
        reason = " ".join(str(error).split())
        raise CacheError(
            f"the feature cache file {path} cannot be read ({reason}); delete it and go on with --resume, which writes "
            "it anew"
        ) from None


def _read_array(archive, member):
    with archive.open(member) as file:
        # NumPy reads a header as a Python literal, which some Pythons cannot do in two threads at once.
        with _HEADERS:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        return np.frombuffer(file.read(), dtype).reshape(shape)


def cache_reading_error(error):
    """The sentence about a cache file that broke a pipeline, out of the long message of TensorFlow's exception.

    Args:
        error: what iterating over `FeatureCache.dataset`, or `fit`, raised.

    Returns:
        the sentence, or None where the error came from somewhere else.
    """
    _, found, rest = str(error).partition("CacheError: ")
    return rest.partition("\n")[0] if found else None


def _seconds_since_change(path):
    try:
        return time.time() - path.stat().st_mtime
    except OSError:  # its writer has just renamed it
        return 0.0
