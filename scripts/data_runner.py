"""Reads training batches for some seconds, for `benchmark.py data`; prints one line of JSON.

    python scripts/data_runner.py PREPARED flip|jitter_crop|rotation|colours|copy_paste|all CORES SECONDS

CORES is a number of cores to run on, or 0 for all.
"""

from __future__ import annotations

import json
import os
import sys
import time

MIN_SIZE, MAX_SIZE, BATCH = 800, 1333, 2
WARM_UP = 10
AUGMENTATIONS = {
    "flip": {},
    "jitter_crop": {"scale_jitter": (0.1, 2.0), "crop": True},
    "rotation": {"rotation": 15.0},
    "colours": {"colour_jitter": 0.4},
    "copy_paste": {"copy_paste": 1.0},
    "all": {"scale_jitter": (0.1, 2.0), "crop": True, "rotation": 15.0, "colour_jitter": 0.4, "copy_paste": 0.5},
}


def main(folder: str, augmentation: str, cores: str, seconds: str) -> None:
    """Prints pictures a second, and the seconds from the start of this program to the first batch."""
    started = time.perf_counter()
    if int(cores):  # before TensorFlow counts them
        os.sched_setaffinity(0, range(int(cores)))
    from keras_mrcnn import PreparedDataset, training_dataset

    data = PreparedDataset(folder)
    settings = {"min_size": MIN_SIZE, "max_size": MAX_SIZE, **AUGMENTATIONS[augmentation]}
    batches = iter(training_dataset(data, batch_size=BATCH, **settings))
    next(batches)
    first = time.perf_counter() - started
    for _ in range(WARM_UP):
        next(batches)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < float(seconds):
        next(batches)
        count += BATCH
    print(json.dumps({"pictures_a_second": count / (time.perf_counter() - start), "first_batch_s": first}))


if __name__ == "__main__":
    main(*sys.argv[1:])
