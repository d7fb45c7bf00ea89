"""Files of tensors: there and back, whole or not there at all; whatever is damaged is found."""

import errno
import os
import time

import numpy as np
import pytest
import tensorflow as tf

from keras_mrcnn.training.cache_files import (
    CacheError,
    check_file,
    is_whole,
    make_folder,
    read_tensors,
    write_tensors,
)

TENSORS = [
    tf.constant(np.random.default_rng(0).normal(size=(8, 6, 4)), tf.float16),
    tf.constant([[1.5, -2.0]], tf.bfloat16),
    tf.constant(3, tf.int32),
    tf.zeros([2, 0], tf.uint8),
]
DTYPES = [tensor.dtype for tensor in TENSORS]
DAMAGE = (tf.errors.DataLossError, tf.errors.InvalidArgumentError)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.tfrecord"
    write_tensors(path, TENSORS)
    return path


def read(path):
    return read_tensors(tf.constant(str(path)), DTYPES)


def same(tensors):
    pairs = zip(tensors, TENSORS)
    return all(ours.dtype == theirs.dtype and np.array_equal(ours, theirs) for ours, theirs in pairs)


def sentence_about(path, dtypes=DTYPES):
    """What `check_file` says; it names the file and what to do."""
    with pytest.raises(CacheError) as caught:
        check_file(path, dtypes)
    sentence = str(caught.value)
    assert sentence.startswith(f"the feature cache file {path} cannot be read (")
    assert sentence.endswith("); delete it and go on with --resume, which writes it anew")
    assert "\n" not in sentence and "node" not in sentence and "Op:" not in sentence
    return sentence


def test_there_and_back(path):
    assert same(read(path)) and is_whole(path, len(TENSORS))
    check_file(path, DTYPES)
    assert [file.name for file in path.parent.iterdir()] == ["a.tfrecord"]


def test_a_pipeline_reads_them_without_python(path):
    [tensors] = tf.data.Dataset.from_tensors(str(path)).map(lambda name: tuple(read_tensors(name, DTYPES)))
    assert same(tensors)


def test_other_tensors_are_not_those_asked_for(path):
    assert not is_whole(path, 3) and not is_whole(path, 5)
    sentence_about(path, [*DTYPES, tf.int32])
    sentence_about(path, DTYPES[:2])
    assert "Type mismatch" in sentence_about(path, [tf.float32, *DTYPES[1:]])


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99, "one byte"])
def test_torn_files(path, share):
    content = path.read_bytes()
    path.write_bytes(content[:-1] if share == "one byte" else content[: int(share * len(content))])
    assert not is_whole(path, len(TENSORS))
    with pytest.raises(DAMAGE):
        read(path)
    sentence_about(path)


def test_a_file_that_ends_after_a_tensor_is_torn(path):
    content = path.read_bytes()
    write_tensors(path, TENSORS[:2])
    assert content.startswith(path.read_bytes())
    assert not is_whole(path, len(TENSORS))
    sentence_about(path)


def test_missing_file(tmp_path):
    path = tmp_path / "gone.tfrecord"
    assert not is_whole(path, len(TENSORS))
    with pytest.raises(tf.errors.NotFoundError):
        read(path)
    assert "No such file" in sentence_about(path)


def test_a_flipped_bit_anywhere_is_found(path):
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        path.write_bytes(content)
        with pytest.raises(DAMAGE):
            read(path)


def test_a_flipped_bit_in_a_number_is_named(path):
    content = bytearray(path.read_bytes())
    content[content.index(TENSORS[0].numpy().tobytes()) + 100] ^= 1
    path.write_bytes(content)
    assert is_whole(path, len(TENSORS))  # the size tells nothing
    assert "corrupted record" in sentence_about(path)


def no_room(error):
    class Writer(tf.io.TFRecordWriter):
        """Writes half a record; then the disk is full."""

        def write(self, record):
            super().write(record[: len(record) // 2])
            raise error

    return Writer


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        tf.errors.ResourceExhaustedError(None, None, "No space left on device"),
    ],
    ids=["Python's error", "TensorFlow's error"],
)
def test_a_write_that_fails_leaves_what_was_there(path, monkeypatch, error):
    monkeypatch.setattr(tf.io, "TFRecordWriter", no_room(error))
    with pytest.raises(CacheError, match=r"a\.tfrecord: cannot be written \(No space left on device\); make room"):
        write_tensors(path, TENSORS)
    monkeypatch.undo()
    assert same(read(path)) and [file.name for file in path.parent.iterdir()] == ["a.tfrecord"]


def test_no_folder_to_write_to(tmp_path):
    with pytest.raises(CacheError, match=r"a\.tfrecord: cannot be written \(.*No such file or directory\)"):
        write_tensors(tmp_path / "gone" / "a.tfrecord", TENSORS)


def test_only_old_temporary_files_are_removed(path):
    folder = path.parent
    for name, age in (("old.tmp", 7200), ("new.tmp", 0), ("old.tfrecord", 7200)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age,) * 2)
    make_folder(folder)
    assert {file.name for file in folder.iterdir()} == {"a.tfrecord", "new.tmp", "old.tfrecord"}


def test_a_folder_that_cannot_be_made(path):
    with pytest.raises(CacheError, match=r"a\.tfrecord.*: cannot be made \(.*\); name another place with train"):
        make_folder(path / "below a file")
