"""Keeps Python's garbage collection out of the threads of tf.data while these call Python.

Python collects garbage in whichever thread has just allocated. In a thread of a pipeline that may delete the iterator
of this very pipeline (one that an exception or a notebook has left in a cycle). Deleting an iterator waits for the
pipeline's threads: the thread waits for itself, and for ever, with every lock it holds. So while pipelines call Python,
automatic collection is off, and a thread of our own, for which no pipeline waits, does it instead.
"""

from __future__ import annotations

import gc
import os
import threading
import time

_INTERVAL_SECONDS = 0.05
_QUIET_SECONDS = 2.0  # without a call, after which Python collects by itself again
# Of the time, that collecting everything may take. Python has another bound: the share of objects that are new.
_LARGEST_SHARE = 0.05

_lock = threading.Lock()
_ending = threading.Event()
_thread: threading.Thread | None = None
_under_way = 0
_last_call = 0.0


def begin_call() -> None:
    """What a function that tf.data calls says first. Where the user had turned collection off, it stays off."""
    global _under_way, _last_call
    was_on = gc.isenabled()
    gc.disable()  # before anything that allocates, and before the lock
    with _lock:
        if gc.isenabled():  # the thread has just ended
            was_on = True
            gc.disable()
        _under_way += 1
        _last_call = time.monotonic()
        if was_on and _thread is None and not _ending.is_set():
            _start_thread()


def end_call() -> None:
    """What it says last."""
    global _under_way, _last_call
    with _lock:
        _under_way -= 1
        _last_call = time.monotonic()


def is_quiet(seconds: float) -> bool:
    """Whether no call is under way, and none has been for so long."""
    with _lock:
        return _is_quiet(seconds)


def _is_quiet(seconds: float) -> bool:
    return not _under_way and time.monotonic() - _last_call > seconds


def leave_to_python() -> None:
    """Ends the thread, for the interpreter is about to end."""
    _ending.set()
    with _lock:
        thread = _thread
    if thread is not None:
        thread.join(timeout=_QUIET_SECONDS)


def _start_thread() -> None:
    global _thread
    thread = threading.Thread(target=_collect_while_called, name="garbage of tf.data", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # there are too many threads, or the interpreter is ending
        gc.enable()
    else:
        _thread = thread


def _collect_while_called() -> None:
    global _thread
    next_full = 0.0
    while True:
        _ending.wait(_INTERVAL_SECONDS)
        oldest = _generation_due(gc.get_count(), gc.get_threshold())
        if oldest == 2 and time.monotonic() < next_full:
            oldest = 1
        start = time.monotonic()
        if oldest is not None:
            gc.collect(oldest)
        if oldest == 2:
            next_full = time.monotonic() + (time.monotonic() - start) / _LARGEST_SHARE
        with _lock:
            if _ending.is_set() or _is_quiet(_QUIET_SECONDS):
                _thread = None
                gc.enable()  # last: a collection in here, with the lock, would be what this file is against
                return


def _generation_due(counts: tuple[int, ...], limits: tuple[int, ...]) -> int | None:
    """The oldest generation that Python would have collected by now, had it collected whenever a limit was passed.

    Args:
        counts: objects made since the last collection, collections of generation 0 since one of 1, and of 1 since
            one of 2; see `gc.get_count`.
        limits: `gc.get_threshold`; 0 turns a generation off.

    Example:
        >>> _generation_due((900, 3, 0), (700, 10, 10)), _generation_due((9000, 3, 0), (700, 10, 10))
        (0, 1)
    """
    due, rounds = None, 0
    for generation, (count, limit) in enumerate(zip(counts, limits)):
        if not 0 < limit < count + rounds:
            break
        due, rounds = generation, (count + rounds) // (limit + 1)
    return due


def _start_anew() -> None:
    """In a process that was forked: the thread is not in it, and the lock may be held for ever."""
    global _lock, _ending, _thread, _under_way
    if _thread is not None:
        gc.enable()
    _lock, _ending, _thread, _under_way = threading.Lock(), threading.Event(), None, 0


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_start_anew)
