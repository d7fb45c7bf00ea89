"""Work in a thread that runs a little ahead, and Ctrl-C that lets it end in order."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager

POLL = 0.1  # seconds; how late a thread that waits may see that all is to stop
PATIENCE = 10.0  # seconds to wait for a thread that is to stop; a camera may hang for ever


def in_background(items: Generator, ahead: int, stop: threading.Event) -> Generator:
    """Goes through a generator in a thread of its own.

    Args:
        items: generator; started, run and closed in that thread.
        ahead: how many items may wait here, so that memory stays bounded; at least 1.
        stop: once set, by anybody, both sides end early. Several of these may share it.

    Returns:
        generator of the same items; closing it ends the thread. What `items` raises is raised here, after the items
        before it.

    Example:
        >>> list(in_background((n * n for n in range(3)), 1, threading.Event()))
        [0, 1, 4]
    """
    waiting: queue.Queue = queue.Queue(ahead)
    closed = threading.Event()
    thread = threading.Thread(target=_fill, args=(waiting, items, (stop, closed)), daemon=True)
    thread.start()
    try:
        while (entry := _take(waiting, stop)) is not None:
            kind, value = entry
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        closed.set()
        thread.join(PATIENCE)


def _fill(waiting: queue.Queue, items: Generator, ends: tuple) -> None:
    """The thread: puts every item into the queue, then how it ended. Any event of `ends` stops it."""
    last = ("end", None)
    try:
        with closing(items):
            for item in items:
                if not _put(waiting, ("item", item), ends):
                    return
    except BaseException as error:  # whatever it is, the other side must hear of it
        last = ("error", error)
    _put(waiting, last, ends)


def _put(waiting: queue.Queue, entry: tuple, ends: tuple) -> bool:
    """Waits for room; returns False where all is to stop."""
    while not any(event.is_set() for event in ends):
        try:
            waiting.put(entry, timeout=POLL)
            return True
        except queue.Full:
            continue
    return False


def _take(waiting: queue.Queue, stop: threading.Event) -> tuple | None:
    """Waits for an entry; returns None where all is to stop."""
    while not stop.is_set():
        try:
            return waiting.get(timeout=POLL)
        except queue.Empty:
            continue
    return None


@contextmanager
def ctrl_c_sets(stop: threading.Event) -> Iterator[None]:
    """Within it the first Ctrl-C sets `stop`, so that nothing is cut in two; the second one does what it always does.

    Python gives signals to the main thread alone; in any other nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT) or signal.default_int_handler

    def first(number, frame):
        stop.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
