"""Hostile .pth files are refused in one sentence: nothing is run, nothing written, and no memory taken for nothing."""

from __future__ import annotations

import os
import pickle
import tracemalloc
from pathlib import Path

import pytest
from hostile_torch_files import CASES, CODE, NAME, PICKLES, message_of, table
from torch_bytes import legacy, zipped

from keras_mrcnn.weights import torch_pickle

PAGE = Path(__file__).resolve().parents[2] / "docs" / "weights.md"


class Hostile:
    """Makes a folder when it is unpickled by something that runs what pickles say."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("trick", CASES)
def test_a_sentence_and_nothing_else(trick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, expected = CASES[trick]
    message = message_of(content, tmp_path)
    assert message.startswith(f"{NAME}: ") and expected in message
    assert message.isprintable() and len(message) < 250
    assert ("nothing in it was run" in message) == ("asks for" in message and "storage" not in message)
    assert [file.name for file in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize("trick", [trick for trick in CASES if len(CASES[trick][0]) < 100_000])
def test_memory_stays_in_proportion(trick, tmp_path):
    content, _ = CASES[trick]
    message_of(content, tmp_path)
    tracemalloc.start()
    try:
        message_of(content, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 2e6 + 50 * len(content)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("wrapped", [lambda content: content, zipped, legacy], ids=["plain", "zip", "legacy"])
def test_code_does_not_run(protocol, wrapped, tmp_path):
    folder = tmp_path / "made by the file"
    content = pickle.dumps({"model": {"a": Hostile(folder)}}, protocol)
    message_of(wrapped(content), tmp_path)
    assert not folder.exists()
    pickle.loads(content)
    assert folder.is_dir()  # so the test could fail


def test_no_name_that_may_be_asked_for_is_a_thing_of_python_or_torch():
    """What a pickle can call are functions of this package, which keep what they are given or nothing of it."""
    from keras_mrcnn.weights.torch_tensors import NAMES

    for value in NAMES.values():
        assert (
            type(value).__module__ == "keras_mrcnn.weights.torch_tensors"
            or isinstance(value, torch_pickle.Opaque)
            or (value.__module__ == "keras_mrcnn.weights.torch_tensors" and not value.__defaults__)
        )


def test_the_page_has_the_table(tmp_path):
    """Written by `python tests/hostile_torch_files.py`."""
    assert table(tmp_path) in PAGE.read_text("utf-8")
    assert len(CASES) >= len(CODE) + len(PICKLES)
