"""Folders of prepared data in tests: what they hold, and the sentences about what is wrong."""

from __future__ import annotations


def source(folder):
    """The annotation file and the images of a data-set folder."""
    return folder / "annotations" / "train.json", folder / "images" / "train"


def files(folder):
    """Every file of a folder, by its path there."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def times(folder):
    """When each file and folder of a folder was changed."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def one_sentence(error, *parts):
    """Asserts that what `pytest.raises` has caught is one line with all of the parts."""
    text = str(error.value)
    assert "\n" not in text and all(str(part) in text for part in parts), text
