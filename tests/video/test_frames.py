"""Reading videos: times, orientation, sizes, and every kind of file that is not what it should be."""

from __future__ import annotations

import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from video.clips import UNEVEN, corner_names, corners, cut_off, noise_clip, write_clip

from keras_mrcnn.video import frames as frames_module
from keras_mrcnn.video.frame import VideoError
from keras_mrcnn.video.frames import open_camera, open_frames


def read(path, **options):
    """(source, its frames) of a video that is whole."""
    source = open_frames(path, **options)
    return source, list(source)


def read_damaged(path):
    """(how many frames come out of a damaged video, what is said then)."""
    source, count = open_frames(path), 0
    with pytest.raises(VideoError) as caught:
        for _ in source:
            count += 1
    return count, str(caught.value)


def refusal(source, **options):
    with pytest.raises(VideoError) as caught:
        list(open_frames(source, **options))
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm", ".avi"])
def test_every_frame_comes_out(tmp_path, suffix):
    path = write_clip(tmp_path / f"clip{suffix}", range(30), tick=Fraction(1, 25))
    source, frames = read(path)
    assert len(frames) == 30 and source.num_frames == pytest.approx(30, abs=1)
    assert not source.has_sound and not source.is_endless and source.files == (path,)
    image = frames[0].image
    assert image.shape == (48, 64, 3) and image.dtype == np.uint8
    assert corner_names(image) == "red green blue white"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_uneven_times_are_kept(tmp_path, suffix):
    source, frames = read(write_clip(tmp_path / f"clip{suffix}"))
    times = [round(float(frame.time * source.time_base), 4) for frame in frames]
    assert times == [time / 1000 for time in UNEVEN]


def test_times_start_at_zero(tmp_path):
    source, frames = read(write_clip(tmp_path / "clip.mkv", [time + 5000 for time in UNEVEN]))
    assert [round(frame.time * source.time_base * 1000) for frame in frames] == list(UNEVEN)


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [(0, "red green blue white"), (90, "green white red blue"), (180, "white blue green red")],
)  # fmt: skip
def test_rotation_is_undone(tmp_path, degrees, expected):
    path = write_clip(tmp_path / "clip.mp4", setup=lambda stream: stream.set_display_rotation(degrees))
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0))
        assert (stored.height, stored.width) == (48, 64) and stored.rotation % 360 == degrees
    _, frames = read(path)
    assert len(frames) == len(UNEVEN)
    assert {frame.image.shape for frame in frames} == {(64, 48, 3) if degrees == 90 else (48, 64, 3)}
    assert corner_names(frames[-1].image) == expected


def test_mirrored_video(tmp_path):
    flip = lambda stream: stream.set_display_rotation(0, hflip=True)  # noqa: E731
    _, frames = read(write_clip(tmp_path / "clip.mp4", setup=flip))
    assert corner_names(frames[0].image) == "green red white blue"


def test_shape_of_pixels_turns_with_the_picture(tmp_path):
    def setup(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        stream.set_display_rotation(90)

    source, _ = read(write_clip(tmp_path / "clip.mp4", setup=setup))
    assert source.pixel_aspect == Fraction(3, 4)


def test_odd_sizes(tmp_path):
    _, frames = read(write_clip(tmp_path / "clip.mp4", images=[corners(37, 51)] * len(UNEVEN)))
    assert {frame.image.shape for frame in frames} == {(37, 51, 3)}


def test_sound_is_noticed_and_left_out(tmp_path):
    source, frames = read(write_clip(tmp_path / "clip.mp4", sound=True))
    assert source.has_sound and len(frames) == len(UNEVEN)


def test_frames_of_another_size_are_scaled_to_the_first(tmp_path):
    path = tmp_path / "clip.ts"
    for number, size in enumerate(((48, 64), (96, 128))):
        part = write_clip(tmp_path / f"{number}.ts", images=[corners(*size)] * len(UNEVEN))
        path.write_bytes((path.read_bytes() if number else b"") + part.read_bytes())
    _, frames = read(path)
    assert len(frames) == 2 * len(UNEVEN)
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}
    assert corner_names(frames[-1].image) == "red green blue white"
    # The second part's times start over; here they go on.
    assert (np.diff([frame.time for frame in frames]) > 0).all()


@pytest.mark.parametrize(("suffix", "share"), [(".mp4", 0.6), (".mkv", 0.6), (".mp4", 0.93)])
def test_cut_off_file_gives_the_frames_before_the_cut(tmp_path, suffix, share):
    count, message = read_damaged(cut_off(noise_clip(tmp_path / f"clip{suffix}"), share))
    assert 40 * share - 8 < count < 40
    assert str(tmp_path / f"clip{suffix}") in message and "\n" not in message


def test_damage_inside_is_told_and_passed_over(tmp_path):
    path = noise_clip(tmp_path / "clip.mkv")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    path.write_bytes(content)
    count, message = read_damaged(path)
    assert 20 <= count <= 40 and str(path) in message


def test_files_that_are_no_videos(tmp_path):
    empty, text, headless = tmp_path / "empty.mp4", tmp_path / "text.mp4", tmp_path / "headless.mp4"
    empty.touch()
    text.write_text("no video " * 50)
    cut_off(write_clip(headless), 0.5)
    for path in (empty, text, headless):
        message = refusal(path)
        assert message.startswith(f"{path} is not a video that can be read (") and "\n" not in message
    assert refusal(tmp_path / "none.mp4").startswith(f"{tmp_path / 'none.mp4'} does not exist; ")
    assert "is a folder; name its images with a pattern" in refusal(tmp_path)


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        track = container.add_stream("aac", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        silence.sample_rate, silence.pts = 8000, 0
        container.mux(track.encode(silence))
        container.mux(track.encode(None))
    assert refusal(path) == f"{path} has no pictures, only sound or other data"


def test_fps_is_for_images_alone(tmp_path):
    path = write_clip(tmp_path / "clip.mp4")
    assert refusal(path, fps=10) == f"{path} has times of its own; leave fps out, which is for image files"


def test_camera_that_is_not_there(monkeypatch):
    monkeypatch.setitem(frames_module.CAMERAS, sys.platform, ("v4l2", "/dev/no-video{}"))
    assert refusal("camera:7").startswith("/dev/no-video7 cannot be opened as a camera (")


def test_camera_where_cameras_are_not_read(monkeypatch):
    monkeypatch.setattr(frames_module, "CAMERAS", {})
    with pytest.raises(VideoError, match="camera:0: cameras are read on Linux and macOS only"):
        open_camera(0)


def test_camera_is_read_until_one_stops(monkeypatch):
    # FFmpeg's source of test pictures stands in for the camera.
    place = "testsrc=size=64x48:rate=25,setpts=PTS+{}/TB"
    monkeypatch.setitem(frames_module.CAMERAS, sys.platform, ("lavfi", place))
    source = open_frames("camera:3")
    assert source.is_endless and source.num_frames is None and source.files == ()
    frames = iter(source)
    taken = [next(frames) for _ in range(5)]
    frames.close()
    assert [round(frame.time * source.time_base * 25) for frame in taken] == [0, 1, 2, 3, 4]
    assert {frame.image.shape for frame in taken} == {(48, 64, 3)}


def test_clock_makes_up_what_is_missing_and_never_goes_back():
    clock = frames_module._Clock(period=10)
    stamps = [100, 110, None, 127, 127, 140, 20, 30]
    assert [clock.time_of(stamp) for stamp in stamps] == [0, 10, 20, 27, 37, 50, 60, 70]


def test_without_pyav_one_is_told_what_to_install(monkeypatch, tmp_path):
    (tmp_path / "clip.mp4").touch()
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"pip install 'keras_mrcnn\[video\]'") as caught:
        open_frames(tmp_path / "clip.mp4")
    assert caught.value.name is None  # so that the command line takes it for a message
