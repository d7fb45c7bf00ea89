"""Pillow without its warnings in one thread at a time.

Pillow warns about odd metadata and large images, which change no pixel. `warnings.catch_warnings` would silence it, but
changes filters that all threads of the process share: where two overlap, the filters of one stay for good. So Pillow's
modules get a stand-in for the module `warnings` here, which asks the thread that warns. In every other thread, and for
everything but Pillow, nothing changes, whatever the filters say.
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
    """Keeps Pillow from warning in this thread, for as long as the context lasts.

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
    """The module `warnings` as Pillow sees it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(warnings, name)

    def warn(self, message, category=None, stacklevel: int = 1, *args, **kwargs) -> None:
        """Does what `warnings.warn` does, or nothing where the thread is silent."""
        if not getattr(_thread, "silent", False):
            warnings.warn(message, category, stacklevel + 1, *args, **kwargs)  # this frame is one more


def _install() -> None:
    Image.init()  # imports the modules of all formats
    stand_in = _ThreadWarnings()
    for name, module in list(sys.modules.items()):
        # Pillow's private modules warn of calls that it will drop; these concern whoever wrote the call.
        if name.startswith("PIL.") and not name.startswith("PIL._") and getattr(module, "warnings", None) is warnings:
            module.warnings = stand_in


_install()
