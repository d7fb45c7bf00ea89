"""scripts/benchmark.py: what its rows are made of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
PEAK = "import peak_memory; held = bytearray(2**20 * int({})); print(peak_memory.peak_memory_mb())"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a child does not begin with its parent's peak")
def test_peak_memory_is_of_the_child_alone():
    held = bytearray(200 * 2**20)  # real memory, for it is written
    peaks = []
    for size in (0, 64):
        command = [sys.executable, "-c", PEAK.format(size)]
        done = subprocess.run(command, cwd=SCRIPTS / "peers", capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    assert 0 < peaks[0] < len(held) / 2**20 / 2
    assert peaks[1] - peaks[0] == pytest.approx(64, abs=8)
