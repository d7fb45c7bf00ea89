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
    for _ in range(500):
        if condition():
            return True
        time.sleep(0.01)
    return False


@pytest.fixture
def quick(monkeypatch):
    """Short waits, and Python collecting by itself when the test begins."""
    monkeypatch.setattr(garbage, "_INTERVAL_SECONDS", 0.02)
    monkeypatch.setattr(garbage, "_QUIET_SECONDS", 0.1)
    assert wait_until(gc.isenabled)


def test_python_collects_by_itself_only_while_nothing_is_called(quick):
    garbage.begin_call()
    garbage.begin_call()
    garbage.end_call()
    assert not gc.isenabled()
    time.sleep(0.3)
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


def test_collection_that_the_user_has_turned_off_stays_off(quick):
    gc.disable()
    try:
        garbage.begin_call()
        garbage.end_call()
        time.sleep(0.3)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_pipelines_left_in_cycles_do_not_wait_for_themselves():
    done = run_child(Path(__file__).with_name("abandoned_pipeline.py"), 3, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "all loaded"
