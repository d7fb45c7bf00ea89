import threading
import time

from keras_mrcnn.data.loading_guard import LoadingGuard


def test_passes_calls_on_until_the_end():
    guard = LoadingGuard(lambda value: value + 1, lambda: "ending")
    assert guard(1) == 2
    guard.wait()
    assert guard(1) == "ending"


def test_waits_for_a_call_under_way():
    done = []
    guard = LoadingGuard(lambda: time.sleep(0.3) or done.append(1), lambda: None)
    thread = threading.Thread(target=guard)
    thread.start()
    time.sleep(0.05)
    guard.wait()
    assert done == [1]
    thread.join()
