"""Writes files and folders that appear under their names complete, or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, only_writer: bool = False) -> Iterator[Path]:
    """Gives a temporary path to write a file or a folder to, and renames it to `path` when the block ends.

    Readers see either the old file or the new one. If the block raises an exception, also a KeyboardInterrupt, the old
    file stays and the temporary one is removed. A process that is killed leaves the hidden .NAME.*.tmp behind.

    Args:
        path: path of the file or folder. A file is replaced if it exists; a folder must be empty or not exist. The
            parent folder must exist.
        only_writer: promises that nobody else writes this file at the same time. The temporary name is then always
            .NAME.tmp, so that the next write replaces what a killed process has left.

    Yields:
        `Path` to write to, in the same folder; it does not exist yet. It ends in .tmp, so a library that chooses the
        format by the suffix must be told the format.

    Raises:
        OSError: the file cannot be written; the error names `path`, or the file inside the temporary folder.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "notes.txt")
        >>> with atomic_write(path) as temporary:
        ...     _ = temporary.write_text("all of it")
        >>> path.read_text()
        'all of it'
    """
    path = Path(path)
    # The process id alone is not unique among threads of one process and machines that share a disk.
    unique = "" if only_writer else f".{os.getpid()}-{secrets.token_hex(4)}"
    # In the same folder, because only a rename within one file system is atomic.
    temporary = path.with_name(f".{path.name}{unique}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename == str(temporary) and error.filename2 is None:
            error.filename = str(path)  # the name that the caller knows
        raise
    finally:
        with contextlib.suppress(OSError):  # it would hide why the block failed
            remove = shutil.rmtree if temporary.is_dir() else os.unlink
            remove(temporary)
