"""Begins a training on a data set as far as its first batch, for `measure_prepare.py`; prints one line of JSON.

    python scripts/prepare_runner.py ANNOTATIONS IMAGES PREPARED
"""

from __future__ import annotations

import json
import sys
import time

from data_runner import BATCH, MAX_SIZE, MIN_SIZE
from measure_memory import resident_mb
from peers.peak_memory import peak_memory_mb


def main(annotations: str, images: str, folder: str) -> None:
    """Prints the seconds of the imports, of `prepare_dataset` and to the first batch, and how much memory they add."""
    started = time.perf_counter()
    from keras_mrcnn import prepare_dataset, training_dataset

    imported, memory = time.perf_counter(), resident_mb()
    data = prepare_dataset(annotations, images, folder)
    prepared = time.perf_counter()
    next(iter(training_dataset(data, batch_size=BATCH, min_size=MIN_SIZE, max_size=MAX_SIZE)))
    answer = {
        "images": len(data),
        "import_s": imported - started,
        "prepare_s": prepared - imported,
        "first_batch_s": time.perf_counter() - prepared,
        "added_mb": peak_memory_mb() - memory,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
