"""Keeps Python's garbage collection out of the threads of tf.data while these call Python.

Python collects garbage in whichever thread has just allocated. In a thread of a pipeline that may delete the iterator
of this very pipeline (one that an exception or a notebook has left in a cycle). Deleting an iterator waits for the
pipeline's threads: the thread waits for itself, and for ever, with every lock it holds. So while pipelines call Python,
Python does not collect by itself, and a thread of our own, for which no pipeline waits, collects as often instead.
"""

from __future__ import annotations

import gc
import threading
import time

_INTERVAL_SECONDS = 0.5
_QUIET_SECONDS = 2.0  # without a call, after which Python collects by itself again

_lock = threading.Lock()
_stop = threading.Event()
_thread: threading.Thread | None = None
_under_way = 0
_last_call = 0.0


def begin_call() -> None:
    """What a function that tf.data calls says first. Where the user has turned collection off, it stays off."""
    global _thread, _under_way, _last_call
    with _lock:
        _under_way += 1
        _last_call = time.monotonic()
        if _thread is None and not _stop.is_set() and gc.isenabled():
            gc.disable()
            _thread = threading.Thread(target=_collect_while_called, name="garbage of tf.data", daemon=True)
            _thread.start()


def end_call() -> None:
    """What it says last."""
    global _under_way, _last_call
    with _lock:
        _under_way -= 1
        _last_call = time.monotonic()


def leave_to_python() -> None:
    """Ends the thread, for the interpreter is about to end. No function may be called any more."""
    _stop.set()
    thread = _thread
    if thread is not None:
        thread.join(timeout=_QUIET_SECONDS)


def _collect_while_called() -> None:
    global _thread
    while True:
        _stop.wait(_INTERVAL_SECONDS)
        _collect_what_is_due()
        with _lock:
            if _stop.is_set() or (not _under_way and time.monotonic() - _last_call > _QUIET_SECONDS):
                _thread = None
                gc.enable()  # last: a collection in here, with the lock, would be what this file is against
                return


def _collect_what_is_due() -> None:
    """One collection, of the oldest generation that Python would have collected since the last one."""
    due = [age for age, (count, limit) in enumerate(zip(gc.get_count(), gc.get_threshold())) if count > limit > 0]
    if due:
        gc.collect(due[-1])
