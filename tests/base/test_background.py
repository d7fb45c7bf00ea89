"""Threads that run ahead, end in order and pass on what goes wrong; and Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from keras_mrcnn.base import background
from keras_mrcnn.base.background import ctrl_c_sets, in_background


def numbers(count, log=None, fault=None):
    try:
        for number in range(count):
            if log is not None:
                log.append(number)
            yield number
        if fault is not None:
            raise fault
    finally:
        if log is not None:
            log.append("closed")


def wait_until(true):
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("count", [0, 1, 20])
def test_all_items_in_order(count):
    stop = threading.Event()
    assert list(in_background(numbers(count), 3, stop)) == list(range(count))
    assert not stop.is_set()


def test_items_come_before_the_error():
    items, got = in_background(numbers(5, fault=ValueError("damaged")), 10, threading.Event()), []
    with pytest.raises(ValueError, match="damaged"):
        for item in items:
            got.append(item)
    assert got == [0, 1, 2, 3, 4]


def test_no_more_than_wanted_runs_ahead():
    log = []
    items = in_background(numbers(100, log), 3, threading.Event())
    assert next(items) == 0
    wait_until(lambda: len(log) == 5)
    time.sleep(3 * background.POLL)
    assert log == [0, 1, 2, 3, 4]  # one taken, three wait, one does not fit
    items.close()
    assert log == [0, 1, 2, 3, 4, "closed"]


def test_stop_ends_both_sides_of_a_chain():
    stop, log = threading.Event(), []

    def doubled(items):
        for item in items:
            yield 2 * item

    items = in_background(doubled(in_background(numbers(10**9, log), 2, stop)), 2, stop)
    assert [next(items), next(items)] == [0, 2]
    stop.set()
    assert list(items) == []
    wait_until(lambda: log[-1] == "closed")


@pytest.fixture
def interruptible():
    """A program that a shell starts in the background ignores Ctrl-C from birth, these tests too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_first_ctrl_c_asks_and_the_second_interrupts(interruptible):
    stop = threading.Event()
    with ctrl_c_sets(stop):
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_leave_ctrl_c_alone():
    before, during = signal.getsignal(signal.SIGINT), []

    def work():
        with ctrl_c_sets(threading.Event()):
            during.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert during == [before]
