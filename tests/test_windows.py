"""The package can be imported where the modules and functions of POSIX do not exist."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "keras_mrcnn"
MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
NAMES = {
    "os": {"fork", "forkpty", "getloadavg", "getpgid", "getuid", "geteuid", "killpg", "mkfifo", "nice",
           "register_at_fork", "sched_getaffinity", "setsid", "statvfs", "sysconf", "uname", "waitid"},
    "signal": {"SIGALRM", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGUSR1", "SIGUSR2", "alarm", "setitimer"},
}  # fmt: skip


def posix_only(source: str) -> set[str]:
    """What a module uses of POSIX without a way around it: neither `try: import`, nor `hasattr` of its module."""
    tree = ast.parse(source)
    guarded = {id(node) for outer in ast.walk(tree) if isinstance(outer, ast.Try) for node in outer.body}
    used = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)) and id(node) not in guarded:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            used |= set(names) & MODULES
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            asked = f'hasattr({node.value.id}, "{node.attr}")' in source
            if node.attr in NAMES.get(node.value.id, ()) and not asked:
                used.add(f"{node.value.id}.{node.attr}")
    return used


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_module_uses_nothing_that_windows_lacks(path):
    assert posix_only(path.read_text("utf-8")) == set()


def test_rule_finds_what_windows_lacks():
    assert posix_only("import resource\nfrom pwd import getpwnam") == {"resource", "pwd"}
    assert posix_only("os.fork()\nsignal.SIGKILL\nsignal.SIGINT\nos.replace") == {"os.fork", "signal.SIGKILL"}
    assert posix_only("try:\n    import resource\nexcept ImportError:\n    resource = None") == set()
    assert posix_only('if hasattr(os, "fork"):\n    os.fork()') == set()


def fresh(name):
    """A module of the package, executed anew beside the one that is imported already."""
    spec = importlib.util.spec_from_file_location(f"fresh_{name}", PACKAGE / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_import_without_resource(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    assert fresh("training/memory.py").peak_memory_mb() is None
