import gc
import threading
import time
import weakref
from pathlib import Path

import pytest
from child_programs import run_child

from keras_mrcnn.data import garbage


class Node:
    """Something that can refer to itself."""


def wait_until(condition):
    for _ in range(3000):
        if condition():
            return True
        time.sleep(0.01)
    return False


@pytest.fixture
def quick(monkeypatch):
    """Short waits, and Python collecting by itself when the test begins."""
    monkeypatch.setattr(garbage, "_INTERVAL_SECONDS", 0.02)
    monkeypatch.setattr(garbage, "_QUIET_SECONDS", 0.3)
    assert wait_until(gc.isenabled)


def test_python_collects_by_itself_only_while_nothing_is_called(quick):
    garbage.begin_call()
    garbage.begin_call()
    garbage.end_call()
    assert not gc.isenabled()
    time.sleep(0.9)
    assert not gc.isenabled()  # one call is under way, however long it takes
    garbage.end_call()
    assert not gc.isenabled()  # TensorFlow's part of the call is not over
    assert wait_until(gc.isenabled)


def test_garbage_is_collected_meanwhile_in_a_thread_of_its_own(quick):
    where = []
    garbage.begin_call()
    node = Node()
    node.itself = node
    weakref.finalize(node, lambda: where.append(threading.current_thread().name))
    del node
    kept = [[] for _ in range(2 * gc.get_threshold()[0])]  # enough that Python would collect
    assert kept and wait_until(lambda: where)
    garbage.end_call()
    assert where == ["garbage of tf.data"]
    assert wait_until(gc.isenabled)


def test_much_garbage_does_not_pile_up(quick):
    alive = weakref.WeakSet()
    garbage.begin_call()
    for _ in range(40):
        for _ in range(500):
            node = Node()
            node.itself = node
            alive.add(node)
        time.sleep(0.02)
    most = len(alive)
    garbage.end_call()
    assert most < 10_000  # of 20,000
    assert wait_until(gc.isenabled)


@pytest.mark.parametrize(
    ("counts", "due"),
    [
        ((700, 0, 0), None),
        ((701, 9, 10), 0),
        ((701, 10, 9), 1),  # with this one generation 0 has been collected eleven times, which is above its limit
        ((701, 10, 10), 2),
        ((11 * 701 - 1, 0, 9), 0),
        ((11 * 701, 0, 9), 1),
        ((701 * 121, 0, 0), 2),
        ((701 * 120, 0, 0), 1),
    ],
)
def test_generations_are_due_as_often_as_in_python(counts, due):
    assert garbage._generation_due(counts, (700, 10, 10)) == due
    assert garbage._generation_due(counts, (0, 10, 10)) is None


def test_collection_that_is_turned_on_meanwhile_is_turned_off_by_the_next_call(quick):
    garbage.begin_call()
    gc.enable()
    garbage.begin_call()
    assert not gc.isenabled()
    garbage.end_call()
    garbage.end_call()
    assert wait_until(gc.isenabled)


def test_without_another_thread_python_goes_on_collecting(quick, monkeypatch):
    def fail(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        garbage.begin_call()
        garbage.end_call()
        assert gc.isenabled() and garbage._thread is None
    garbage.begin_call()
    assert not gc.isenabled()
    garbage.end_call()
    assert wait_until(gc.isenabled)


def test_a_forked_process_collects_by_itself(quick):
    garbage.begin_call()
    # What a child does first, without the fork: TensorFlow's threads do not survive one.
    thread = garbage._thread
    garbage._start_anew()
    assert gc.isenabled() and garbage._thread is None
    garbage._ending.set()  # for the thread of the parent, which this process is, too
    thread.join()
    garbage._ending.clear()


def test_collection_that_the_user_has_turned_off_stays_off(quick):
    gc.disable()
    try:
        garbage.begin_call()
        garbage.end_call()
        time.sleep(0.9)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_pipelines_left_in_cycles_do_not_wait_for_themselves():
    done = run_child(Path(__file__).with_name("abandoned_pipeline.py"), 3, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "all loaded"
