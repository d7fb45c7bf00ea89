"""The Python that has torch, for tests that compare with it: of TORCH_PYTHON, by default the one that runs the tests.

torch runs in programs of its own, because torchvision and TensorFlow do not live in one process.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import pytest

TORCH_PYTHON = os.environ.get("TORCH_PYTHON", sys.executable)


def run_torch(*arguments, cwd=None) -> subprocess.CompletedProcess:
    """Runs that Python with arguments; what it prints is in the result."""
    return subprocess.run([TORCH_PYTHON, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)


def skip_without(*packages):
    """Skips the test where that Python lacks one of the packages."""
    if not _has(packages):
        pytest.skip(f"{TORCH_PYTHON} has no {' and '.join(packages)}; set TORCH_PYTHON to a Python that has")


@functools.cache
def _has(packages):
    search = f"import sys, importlib.util as u; sys.exit(not all(map(u.find_spec, {packages!r})))"
    return run_torch("-c", search).returncode == 0
