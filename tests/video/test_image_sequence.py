"""Image files as frames: which ones, in which order."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from keras_mrcnn.video.frame import VideoError
from keras_mrcnn.video.frames import open_frames
from keras_mrcnn.video.image_sequence import find_images, is_pattern


def make_images(folder, *names, size=(8, 6)):
    folder.mkdir(exist_ok=True)
    for value, name in enumerate(names):
        Image.new("RGB", size, (value, value, value)).save(folder / name)
    return folder


def names_of(pattern):
    return [path.name for path in find_images(str(pattern))]


def test_is_pattern():
    assert all(is_pattern(name) for name in ("a/%d.png", "a/%04d.png", "a/*.png", "a/?.png", "[ab].png"))
    assert not any(is_pattern(name) for name in ("a/b.png", "100%.mp4", "a", "%s.png"))


def test_numbers_in_names_decide(tmp_path):
    folder = make_images(tmp_path / "f", "0010.png", "0002.png", "12345.png", "2.png", "x0003.png", "0004.jpg")
    assert names_of(folder / "%04d.png") == ["0002.png", "0010.png", "12345.png"]
    assert names_of(folder / "%d.png") == ["0002.png", "2.png", "0010.png", "12345.png"]
    assert names_of(folder / "x%04d.png") == ["x0003.png"]
    assert names_of(folder / "y%04d.png") == []


def test_wildcards_are_sorted_by_number(tmp_path):
    folder = make_images(tmp_path / "f", "a10.png", "a9.png", "b1.png")
    (folder / "c1.png").mkdir()
    assert names_of(folder / "*.png") == ["a9.png", "a10.png", "b1.png"]
    assert names_of(folder / "a[0-9].png") == ["a9.png"]


def test_frames_of_images(tmp_path):
    folder = make_images(tmp_path / "f", "1.png", "2.png", "3.png")
    source = open_frames(folder / "%d.png", fps=12.5)
    assert (source.rate, source.time_base, source.num_frames) == (Fraction(25, 2), Fraction(2, 25), 3)
    assert not source.has_sound and not source.is_endless and len(source.files) == 3
    frames = list(source)
    assert [(frame.time, frame.duration) for frame in frames] == [(0, 1), (1, 1), (2, 1)]
    assert [int(frame.image.max()) for frame in frames] == [0, 1, 2]
    assert frames[0].image.shape == (6, 8, 3) and frames[0].image.dtype == np.uint8
    assert open_frames(folder / "*.png").rate == 25
    assert open_frames(folder / "*.png", fps=29.97).rate == Fraction(2997, 100)


def test_what_cannot_be_read_is_named_after_the_frames_before_it(tmp_path):
    folder = make_images(tmp_path / "f", "1.png", "2.png")
    (folder / "3.png").write_text("no image")
    got = []
    with pytest.raises(VideoError, match=r"3\.png is not an image"):
        for frame in open_frames(folder / "*.png"):
            got.append(frame)
    assert len(got) == 2


def test_images_of_two_sizes(tmp_path):
    folder = make_images(tmp_path / "f", "1.png")
    make_images(folder, "2.png", size=(4, 4))
    message = r"2\.png has 4 x 4 pixels and .*1\.png has 8 x 6; make them one size"
    with pytest.raises(VideoError, match=message):
        list(open_frames(folder / "%d.png"))


def test_no_files(tmp_path):
    for pattern in ("*.png", "%04d.png", "none/%04d.png"):
        with pytest.raises(VideoError, match="no file fits this pattern"):
            open_frames(tmp_path / pattern)
    make_images(tmp_path, "1.png")
    with pytest.raises(VideoError, match="fps is 0; give the frames a second"):
        open_frames(tmp_path / "*.png", fps=0)
