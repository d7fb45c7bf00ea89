"""Silences Pillow's warnings in one thread without affecting others.

Pillow warns about odd metadata and large images, which changes no pixel. `warnings.catch_warnings` would silence it,
but it changes filters that all threads of the process share: if two threads overlap, the filters of one stay for good.
So this module gives Pillow's modules a stand-in for the module `warnings`, which drops the warnings of silent threads.
Nothing changes for other threads, or for warnings of other packages.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

from PIL import Image

_thread = threading.local()


@contextlib.contextmanager
def silent_pillow() -> Iterator[None]:
    """Silences Pillow's warnings in this thread while the block runs.

    Example:
        >>> with silent_pillow():
        ...     image = Image.new("L", (2, 3))
    """
    before = getattr(_thread, "silent", False)
    _thread.silent = True
    try:
        yield
    finally:
        _thread.silent = before


class _ThreadWarnings:
    """A stand-in for the module `warnings` in Pillow's modules."""

    def __getattr__(self, name: str) -> Any:
        return getattr(warnings, name)

    def warn(
        self,
        message: Warning | str,
        category: type[Warning] | None = None,
        stacklevel: int = 1,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Warns as `warnings.warn` does, unless the thread is silent."""
        if not getattr(_thread, "silent", False):
            warnings.warn(message, category, stacklevel + 1, *args, **kwargs)  # this frame is one more


def _install() -> None:
    """Puts the stand-in into Pillow's modules."""
    Image.init()  # imports the modules of all formats
    stand_in = _ThreadWarnings()
    for name, module in list(sys.modules.items()):
        # Pillow's private modules warn about deprecated calls; these warnings are for the author of the call.
        if name.startswith("PIL.") and not name.startswith("PIL._") and getattr(module, "warnings", None) is warnings:
            module.warnings = stand_in


_install()
