"""Keeps a process from hanging in the Python functions that tf.data calls.

While they run, Python's garbage collection stays out of tf.data's threads, see `garbage`.

And when the interpreter ends: TensorFlow's threads fill a pipeline's buffers until its iterator is deleted. An iterator
that lives until then (in a notebook, in the traceback of an interrupted run) waits for its threads, these wait for the
interpreter's lock, which they cannot have any more, and the process hangs. So, when the program ends and while Python
can still run, the guarded function returns at once until the buffers are full and nobody calls it.
"""

from __future__ import annotations

import atexit
import functools
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from keras_mrcnn.data import garbage

_QUIET_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 5.0


# Weak, so that a pipeline that is no longer used can be freed.
_guards: weakref.WeakSet[LoadingGuard] = weakref.WeakSet()


class LoadingGuard:
    """Lets tf.data call a function, counts the calls under way, and waits for them when the program ends.

    Args:
        function: what the pipeline calls.
        substitute: takes no arguments; gives what is returned instead once the program is ending. Nobody uses it.

    Example:
        >>> LoadingGuard(lambda value: value + 1, lambda: 0)(1)
        2
    """

    def __init__(self, function: Callable[..., Any], substitute: Callable[[], Any]):
        functools.update_wrapper(self, function)
        self._function = function
        self._substitute = substitute
        self._lock = threading.Lock()
        self._under_way = 0
        self._last_call = float("-inf")
        self._ending = False
        _guards.add(self)

    def __call__(self, *args: Any) -> Any:
        garbage.begin_call()
        with self._lock:
            self._under_way += 1
            self._last_call = time.monotonic()
        try:
            return self._substitute() if self._ending else self._function(*args)
        finally:
            with self._lock:
                self._under_way -= 1
                self._last_call = time.monotonic()
            garbage.end_call()

    def wait(self) -> None:
        """Returns when the function has not been called for a moment; from now on its calls are empty."""
        self._ending = True
        give_up = time.monotonic() + _LONGEST_WAIT_SECONDS
        while time.monotonic() < give_up:
            with self._lock:
                if not self._under_way and time.monotonic() - self._last_call > _QUIET_SECONDS:
                    return
            time.sleep(_QUIET_SECONDS / 10)


@atexit.register
def _wait_for_all() -> None:
    for guard in list(_guards):
        guard.wait()
    garbage.leave_to_python()
