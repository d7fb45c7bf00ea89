"""Files and folders that appear under their names when they are whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, only_writer: bool = False) -> Iterator[Path]:
    """Gives a block a temporary name for a file or a folder, which takes its own name when the block ends.

    Whoever reads meanwhile sees the old file or the new one. A block that ends by an exception, KeyboardInterrupt
    too, leaves what was there before and nothing else. A process that is killed leaves the hidden .NAME.*.tmp.

    Args:
        path: of the file, which is replaced if there is one, or of the folder, which must not exist unless it is
            empty. The folder that it lies in must exist.
        only_writer: promises that nobody else writes this file meanwhile. Then its temporary name is always
            .NAME.tmp, so that what a killed process has left is written over rather than kept beside the next one.

    Yields:
        The `Path` to write to, in the same folder; nothing is there yet. It ends in .tmp, so a library that chooses
        the format by the suffix must be told the format.

    Raises:
        OSError: the file cannot be written; the error names `path`, or what lies in the temporary folder.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "notes.txt")
        >>> with atomic_write(path) as temporary:
        ...     _ = temporary.write_text("all of it")
        >>> path.read_text()
        'all of it'
    """
    path = Path(path)
    # Random besides the process id, for threads of one process and for machines that share a disk.
    own = "" if only_writer else f".{os.getpid()}-{secrets.token_hex(4)}"
    # In the same folder, because only a rename within one file system is atomic.
    temporary = path.with_name(f".{path.name}{own}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename == str(temporary) and error.filename2 is None:
            error.filename = str(path)  # the one that the caller knows
        raise
    finally:
        with contextlib.suppress(OSError):  # which would hide why the block has failed
            remove = shutil.rmtree if temporary.is_dir() else os.unlink
            remove(temporary)
