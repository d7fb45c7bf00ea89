"""The peak memory of the running process, for the programs that benchmark.py starts."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")
BYTES_IN_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss


def peak_memory_mb() -> int:
    """Returns the greatest resident memory of this process so far, in MiB.

    On Linux `ru_maxrss` begins with the memory of the process that has started this one, so the kernel's own count
    for this program is read instead.
    """
    if STATUS.is_file():
        kilobytes = int(re.search(r"^VmHWM:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)[1])
        return round(kilobytes / 1024)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_IN_UNIT / 2**20)
