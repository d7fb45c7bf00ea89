"""Programs that tests start as processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def child_environment():
    """The variables of a child: this package on its path, and no GPU."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}


def run_child(program, *arguments, timeout):
    """Runs a Python file to its end; what it prints is in the result. `timeout` in seconds."""
    return subprocess.run(
        [sys.executable, str(program), *map(str, arguments)],
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
