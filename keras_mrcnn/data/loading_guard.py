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
    """Lets tf.data call a function, and waits for the calls under way when the program ends.

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
        self._ending = False
        _guards.add(self)

    def __call__(self, *args: Any) -> Any:
        garbage.begin_call()
        try:
            return self._substitute() if self._ending else self._function(*args)
        finally:
            garbage.end_call()

    def wait(self) -> None:
        """From now on calls are empty. Returns when no guarded function has been called for a moment."""
        self._ending = True
        _wait_until_quiet()


def _wait_until_quiet() -> None:
    give_up = time.monotonic() + _LONGEST_WAIT_SECONDS
    while time.monotonic() < give_up and not garbage.is_quiet(_QUIET_SECONDS):
        time.sleep(_QUIET_SECONDS / 10)


@atexit.register
def _wait_for_all() -> None:
    for guard in list(_guards):
        guard._ending = True
    _wait_until_quiet()
    garbage.leave_to_python()
