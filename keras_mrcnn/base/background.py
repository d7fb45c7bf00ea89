"""Runs generators ahead in threads of their own, and lets Ctrl-C end the work in order."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import Any

POLL = 0.1  # seconds between two checks of a waiting thread whether it should stop
PATIENCE = 10.0  # seconds to wait for a thread to end; a camera may hang forever


def in_background(items: Generator[Any, None, None], ahead: int, stop: threading.Event) -> Generator[Any, None, None]:
    """Runs a generator in a thread of its own, a few items ahead of the consumer.

    Args:
        items: generator; it is started, run and closed in that thread.
        ahead: the most items that may wait for the consumer, at least 1; this bounds the memory.
        stop: event that ends both sides early once it is set. Several generators may share it.

    Yields:
        The same items. An exception that `items` raises is raised here, after the items before it. Closing this
        generator ends the thread.

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


def _fill(waiting: queue.Queue, items: Generator[Any, None, None], ends: tuple[threading.Event, ...]) -> None:
    """Runs in the thread: puts the items into the queue, then how the generator ended; any of `ends` stops it."""
    last = ("end", None)
    try:
        with closing(items):
            for item in items:
                if not _put(waiting, ("item", item), ends):
                    return
    except BaseException as error:  # the consumer must see it, whatever it is
        last = ("error", error)
    _put(waiting, last, ends)


def _put(waiting: queue.Queue, entry: tuple[str, Any], ends: tuple[threading.Event, ...]) -> bool:
    """Waits for room and puts the entry into the queue; returns False if an event of `ends` was set first."""
    while not any(event.is_set() for event in ends):
        try:
            waiting.put(entry, timeout=POLL)
            return True
        except queue.Full:
            continue
    return False


def _take(waiting: queue.Queue, stop: threading.Event) -> tuple[str, Any] | None:
    """Waits for an entry and returns it; returns None if `stop` was set first."""
    while not stop.is_set():
        try:
            return waiting.get(timeout=POLL)
        except queue.Empty:
            continue
    return None


@contextmanager
def ctrl_c_sets(stop: threading.Event) -> Iterator[None]:
    """Makes the first Ctrl-C within the block set `stop`, so that the work can end in order.

    A second Ctrl-C has its usual effect. Python delivers signals to the main thread only; in any other thread this
    does nothing.

    Args:
        stop: event to set.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT) or signal.default_int_handler

    def stop_in_order(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, stop_in_order)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
