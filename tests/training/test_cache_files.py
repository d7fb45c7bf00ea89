"""Files of arrays: there and back, whole or not there at all; whatever is damaged is found."""

import errno
import os
import time
from pathlib import Path

import numpy as np
import pytest

from keras_mrcnn.training.cache_files import (
    CacheError,
    cache_reading_error,
    is_whole,
    make_folder,
    read_arrays,
    write_arrays,
)

ARRAYS = {
    "map": np.random.default_rng(0).normal(size=(8, 6, 4)).astype(np.float16),
    "count": np.array(3, np.int32),
    "none": np.zeros((2, 0), np.uint8),
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.safetensors"
    write_arrays(path, ARRAYS)
    return path


def same(arrays):
    pairs = zip(arrays, ARRAYS.values())
    return all(ours.dtype == theirs.dtype and np.array_equal(ours, theirs) for ours, theirs in pairs)


def test_there_and_back(path):
    assert same(read_arrays(path, ARRAYS)) and is_whole(path, ARRAYS)
    assert [array.shape for array in read_arrays(path, ("none", "count"))] == [(2, 0), ()]
    assert [file.name for file in path.parent.iterdir()] == ["a.safetensors"]


def test_other_arrays_are_not_those_asked_for(path):
    assert not is_whole(path, {**ARRAYS, "more": None}) and not is_whole(path, ("map",))
    with pytest.raises(CacheError, match=r"a\.safetensors cannot be read .*more.*delete it and go on with --resume"):
        read_arrays(path, ("more",))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99, "one byte"])
def test_torn_files(path, share):
    content = path.read_bytes()
    path.write_bytes(content[:-1] if share == "one byte" else content[: int(share * len(content))])
    assert not is_whole(path, ARRAYS)
    with pytest.raises(CacheError, match=r"a\.safetensors cannot be read") as caught:
        read_arrays(path, ARRAYS)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    assert not is_whole(tmp_path / "gone.safetensors", ARRAYS)
    with pytest.raises(CacheError, match=r"gone\.safetensors cannot be read \(.*No such file"):
        read_arrays(tmp_path / "gone.safetensors", ARRAYS)


def test_a_flipped_bit_anywhere_is_found_or_does_no_harm(path):
    whole, found = path.read_bytes(), 0
    for place in range(0, len(whole), 3):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        path.write_bytes(content)
        try:
            assert same(read_arrays(path, ARRAYS)), place
        except CacheError:
            found += 1
    assert found > 0.5 * len(range(0, len(whole), 3))


def test_a_flipped_bit_in_a_number_is_found(path):
    content = bytearray(path.read_bytes())
    content[content.index(ARRAYS["map"].tobytes()) + 100] ^= 1
    path.write_bytes(content)
    assert is_whole(path, ARRAYS)
    with pytest.raises(CacheError, match=r"a\.safetensors cannot be read \(the checksum of map is wrong\)"):
        read_arrays(path, ARRAYS)


def test_a_write_that_fails_leaves_what_was_there(path, monkeypatch):
    def fail(temporary, content):
        with open(temporary, "wb") as file:
            file.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(CacheError, match=r"a\.safetensors: cannot be written \(No space left on device\); make room"):
        write_arrays(path, {})
    monkeypatch.undo()
    assert same(read_arrays(path, ARRAYS)) and [file.name for file in path.parent.iterdir()] == ["a.safetensors"]


def test_no_folder_to_write_to(tmp_path):
    with pytest.raises(CacheError, match="cannot be written"):
        write_arrays(tmp_path / "gone" / "a.safetensors", ARRAYS)


def test_only_old_temporary_files_are_removed(path):
    folder = path.parent
    for name, age in (("old.tmp", 7200), ("new.tmp", 0), ("old.safetensors", 7200)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age,) * 2)
    make_folder(folder)
    assert {file.name for file in folder.iterdir()} == {"a.safetensors", "new.tmp", "old.safetensors"}


def test_a_folder_that_cannot_be_made(path):
    with pytest.raises(CacheError, match=r"a\.safetensors.*: cannot be made \(.*\); name another place with train"):
        make_folder(path / "below a file")


def test_the_sentence_is_found_in_what_tensorflow_raises():
    message = "UNKNOWN: CacheError: the feature cache file x cannot be read (why); delete it\nTraceback\n  more"
    expected = "the feature cache file x cannot be read (why); delete it"
    assert cache_reading_error(RuntimeError(message)) == expected
    assert cache_reading_error(RuntimeError("UNKNOWN: ValueError: something else")) is None
