"""Measures how fast data are prepared, and how soon the next training on them has its first batch.

    python scripts/large_dataset.py data/small --images 10000
    python scripts/large_dataset.py data/large
    python scripts/measure_prepare.py data/small data/large

Each data set is prepared into a temporary folder, in a process that then reads a first batch. A second process begins
the same training again, with everything ready. Its memory is the peak until the first batch, less what the imports
take. A figure for a core is that of all cores divided by their number.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmark_infer import run_program

from keras_mrcnn.base.tables import text_table

RUNNER = Path(__file__).with_name("prepare_runner.py")
COLUMNS = (
    "", "images", "prepare s", "images a second and core", "start: imports s", "data s", "first batch s", "added MB",
)  # fmt: skip


def measure(source: Path, scratch: Path | None) -> tuple:
    """Returns the row of a data set with annotations/train.json and images/train."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        command = [sys.executable, RUNNER, source / "annotations" / "train.json", source / "images" / "train", folder]
        first, second = run_program(command), run_program(command)
    rate = first["images"] / first["prepare_s"] / (os.cpu_count() or 1)
    times = (second[name] for name in ("import_s", "prepare_s", "first_batch_s", "added_mb"))
    return (source.name, first["images"], first["prepare_s"], rate, *times)


def main() -> None:
    """Prints a table with a row for each data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path, help="folders that large_dataset.py has written")
    parser.add_argument("--scratch", type=Path, help="disk for the prepared data")
    arguments = parser.parse_args()
    rows = [measure(source, arguments.scratch) for source in arguments.sources]
    print(text_table([COLUMNS, *rows]))


if __name__ == "__main__":
    main()
