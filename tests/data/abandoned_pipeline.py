"""Leaves a pipeline whose iterator is cyclic garbage while its threads still load, and says how that ends."""

import gc
import sys
import time

import tensorflow as tf

from keras_mrcnn.data.loading_guard import LoadingGuard

under_way = set()


def load(position):
    """Takes a while, and makes as much as Python needs to look for garbage several times."""
    under_way.add(int(position))
    for _ in range(20):
        time.sleep(0.01)
        [[number] for number in range(20_000)]
    under_way.discard(int(position))
    return position


def abandon():
    """Reads one element of an endless pipeline; its iterator refers to itself."""
    guard = LoadingGuard(load, lambda: 0)
    numbers = tf.data.Dataset.range(2**40).map(
        lambda number: tf.numpy_function(guard, [number], tf.int64), num_parallel_calls=4
    )
    iterator = iter(numbers.prefetch(1))
    iterator.itself = iterator
    next(iterator)


# With all that is here now out of its sight, Python looks through everything else often.
gc.collect()
gc.freeze()
gc.collect()
for _ in range(int(sys.argv[1])):
    abandon()
quiet = 0
for _ in range(200):
    time.sleep(0.1)
    quiet = 0 if under_way else quiet + 1
    if quiet == 20:
        break
print("all loaded" if quiet == 20 else "stuck", flush=True)
