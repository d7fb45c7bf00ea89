"""Writing videos: what goes in comes out, and a file is there whole or not at all."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from video.clips import MILLISECOND, UNEVEN, corner_names, corners, read_clip

from keras_mrcnn.video.writer import ENCODERS, VideoWriter, check_target


def write(path, images=None, times=UNEVEN, tick=MILLISECOND, **options):
    images = images or [corners()] * len(times)
    with VideoWriter(path, tick, Fraction(25)) as writer:
        for image, time in zip(images, times):
            writer.write(image, time, **options)
    return writer


@pytest.mark.parametrize("suffix", ENCODERS)
def test_times_and_pictures_come_back(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    assert write(path).num_frames == len(UNEVEN)
    images, times = read_clip(path)
    np.testing.assert_allclose(times, np.array(UNEVEN) / 1000, atol=1e-6)
    assert {image.shape for image in images} == {(48, 64, 3)}
    assert corner_names(images[0]) == corner_names(images[-1]) == "red green blue white"
    assert list(tmp_path.iterdir()) == [path]


def test_mp4_is_what_players_take(tmp_path):
    write(tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert context.colorspace == context.color_primaries == context.color_trc == 1
        assert len(container.streams) == 1


def test_colours_are_kept(tmp_path):
    image = np.empty((64, 64, 3), np.uint8)
    image[:] = (200, 60, 30)
    write(tmp_path / "out.mp4", [image] * 5)
    images, _ = read_clip(tmp_path / "out.mp4")
    np.testing.assert_allclose(images[2][32, 32], (200, 60, 30), atol=4)


@pytest.mark.parametrize("size", [(47, 64), (48, 63), (47, 63), (1, 1)])
def test_odd_sides_get_one_more_pixel(tmp_path, size):
    write(tmp_path / "out.mp4", [np.full((*size, 3), 120, np.uint8)] * 3)
    images, _ = read_clip(tmp_path / "out.mp4")
    assert images[0].shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    np.testing.assert_allclose(images[0], 120, atol=4)


def test_last_frame_lasts_as_long_as_told(tmp_path):
    write(tmp_path / "out.mp4", times=(0, 40, 80), duration=700)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert float(container.streams.video[0].duration * container.streams.video[0].time_base) == pytest.approx(0.78)


def test_shape_of_pixels_is_kept(tmp_path):
    write(tmp_path / "out.mp4", pixel_aspect=Fraction(4, 3))
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


@pytest.mark.parametrize("tick", [Fraction(1, 25), Fraction(1001, 30000), Fraction(1, 90000), Fraction(1, 10**9)])
def test_ticks_of_every_length(tmp_path, tick):
    step = max(1, round(Fraction(1, 25) / tick))
    write(tmp_path / "out.mp4", times=range(0, 10 * step, step), tick=tick)
    _, times = read_clip(tmp_path / "out.mp4")
    np.testing.assert_allclose(times, np.arange(10) * float(step * tick), atol=2e-6)


def test_nothing_is_left_after_an_exception(tmp_path):
    (tmp_path / "out.mp4").write_text("an older one")
    with pytest.raises(RuntimeError, match="a fault"), VideoWriter(tmp_path / "out.mp4", MILLISECOND, 25) as writer:
        writer.write(corners(), 0)
        assert len(list(tmp_path.iterdir())) == 2
        raise RuntimeError("a fault")
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert (tmp_path / "out.mp4").read_text() == "an older one"


def test_no_frames_make_no_file_and_no_folder(tmp_path):
    assert write(tmp_path / "new" / "out.mp4", times=()).num_frames == 0
    assert list(tmp_path.iterdir()) == []


def test_folders_are_made(tmp_path):
    write(tmp_path / "new" / "more" / "out.mp4", times=(0, 40))
    assert [path.name for path in (tmp_path / "new" / "more").iterdir()] == ["out.mp4"]


def test_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"out\.mp4 cannot be written \("):
        write(tmp_path / "file" / "out.mp4")


def test_targets_that_cannot_be(tmp_path):
    for name in ("out.txt", "out", "out.mp4.png"):
        with pytest.raises(ValueError, match=r"videos are written as \.mp4, \.m4v, \.mov, \.mkv, \.webm"):
            check_target(tmp_path / name)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        check_target(tmp_path / "folder.mp4")
    (tmp_path / "in.mp4").touch()
    with pytest.raises(ValueError, match="would be written over while it is read"):
        check_target(tmp_path / "folder.mp4" / ".." / "in.mp4", (tmp_path / "in.mp4",))
    assert check_target(tmp_path / "OUT.MP4", (tmp_path / "in.mp4",)) == tmp_path / "OUT.MP4"
