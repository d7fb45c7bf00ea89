"""Measures the memory that a training takes."""

from __future__ import annotations

import sys
from typing import Optional

try:
    import resource
except ImportError:  # on Windows
    resource = None


def peak_memory_mb() -> Optional[int]:
    """Returns the peak resident memory of this process so far, in megabytes; None on Windows."""
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))
