"""Pictures from files, folders, lists and patterns, in a fixed order."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.image_files import read_image
from keras_mrcnn.batch.inputs import open_input, part_digest
from keras_mrcnn.data.prepared import PreparedDataset


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """The current folder, with pictures in photos/."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.jpg", "a.png", "a/z.png", "a/deep/y.PNG", "c/x.gif"):
        path = Path("photos", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3, 2)).save(path)
    Path("photos/a/notes.md").touch()
    return Path("photos")


def names(*arguments, **options):
    return [entry.name for entry in open_input(arguments, **options)]


def test_folder_in_the_order_of_the_paths(photos):
    wanted = [path.as_posix() for path in sorted(photos.rglob("*")) if path.is_file() and path.suffix != ".md"]
    assert names("photos/") == wanted
    assert wanted[:3] == ["photos/a/deep/y.PNG", "photos/a/z.png", "photos/a.png"]


def test_entries_are_numbered_and_load_what_read_image_takes(photos):
    entries = list(open_input(["photos/c", "photos/a.png", "photos/c"]))
    assert [(entry.image_id, entry.name) for entry in entries] == [
        (1, "photos/c/x.gif"), (2, "photos/a.png"), (3, "photos/c/x.gif"),
    ]  # fmt: skip
    assert read_image(entries[1].load()).shape == (2, 3, 3)


def test_links_to_folders_are_not_followed(photos):
    os.symlink("..", photos / "a" / "up")
    assert len(names("photos")) == 5


def test_list_of_paths(photos):
    Path("list.txt").write_bytes(b"photos/b.jpg\r\n\n  photos/gone.png\nphotos/a.png")
    assert names("list.txt") == ["photos/b.jpg", "  photos/gone.png", "photos/a.png"]


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("photos/*.png", ["a.png"]),
        ("photos/*", ["a.png", "b.jpg"]),
        ("photos/?/*.png", ["a/z.png"]),
        ("photos/**/*.png", ["a/z.png", "a.png"]),
        ("photos/**/[yz].*", ["a/deep/y.PNG", "a/z.png"]),
        ("photos/a/**", ["a/deep/y.PNG", "a/notes.md", "a/z.png"]),
        ("*/b.jpg", ["b.jpg"]),
        ("photos/.*", [".hidden.png"]),
    ],
)
def test_patterns(photos, pattern, wanted):
    Path("photos/.hidden.png").touch()
    assert names(pattern) == [f"photos/{name}" for name in wanted]


def test_names_that_are_no_utf_8(photos):
    raw = os.fsdecode(b"photos/\xff.png")
    os.rename("photos/a.png", raw)
    Path("list.txt").write_bytes(b"photos/\xff.png\n")
    (entry,) = open_input(["list.txt"])
    assert entry.name == "photos/\\xff.png" and read_image(entry.load()).shape == (2, 3, 3)


def test_ids_of_an_annotation_file_replace_numbers_and_names(photos):
    ids = {"deep/y.PNG": 43, "z.png": 41, "b.jpg": 42}
    entries = open_input(["photos/a", "photos/b.jpg"], ids=lambda name: (f"val/{name}", ids[name]))
    assert [(entry.name, entry.image_id) for entry in entries] == [(f"val/{name}", ids[name]) for name in ids]
    with pytest.raises(UserError, match="photos/a/z.png and a picture before it are both val/a.png; leave one out"):
        list(open_input(["photos/a"], ids=lambda name: ("val/a.png", 40)))


def test_parts_and_their_listing(photos):
    pictures = open_input(["photos"])
    parts = list(pictures.parts(2))
    assert [len(part) for part in parts] == [2, 2, 1]
    listing = pictures.listing(2)
    assert listing.pictures == 5 and listing.parts == tuple(map(part_digest, parts)) and len(listing.sha256) == 64
    assert listing == open_input(["photos//"]).listing(2)
    os.rename("photos/b.jpg", "photos/bb.jpg")
    other = pictures.listing(2)
    assert [a == b for a, b in zip(listing.parts, other.parts)] == [True, False, True]
    assert other.sha256 != listing.sha256


def test_prepared_data(tiny_prepared):
    dataset = PreparedDataset(tiny_prepared)
    entries = list(open_input([tiny_prepared]))
    assert [(entry.name, entry.image_id) for entry in entries] == [("3", 3), ("5", 5), ("8", 8), ("9", 9)]
    for entry in entries:
        np.testing.assert_array_equal(read_image(entry.load()), dataset.load_image(entry.image_id))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photos/gone.png"], "photos/gone.png does not exist; check the path"),
        (["photos/*.tif"], "photos/[*].tif: no file fits this pattern"),
        (["photos", "table.parquet"], "table.parquet cannot be read together with other pictures; name it alone"),
        (["empty"], r"empty: has no images \(.jpg, "),
    ],
)
def test_what_cannot_be_opened(photos, arguments, message):
    Path("empty").mkdir()
    with pytest.raises(UserError, match=message):
        open_input(arguments).listing(3)


def test_columns_are_those_of_parquet_files(photos):
    with pytest.raises(UserError, match="--column image: only Parquet files have columns"):
        open_input(["photos"], column="image")
