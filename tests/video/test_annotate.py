"""The whole way: frames in, frames out, in order and in colours that stay; damage, Ctrl-C, and memory."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from video.clips import UNEVEN, OneBox, StillFrames, corners, cut_off, noise_clip, read_clip, write_clip

from keras_mrcnn.base.records import Detections
from keras_mrcnn.video.annotate import annotate_video, batches, draw_tracked
from keras_mrcnn.video.frame import Frame, VideoError
from keras_mrcnn.video.frames import open_frames
from keras_mrcnn.video.tracks import ColourTracks
from keras_mrcnn.visualize import PALETTE


def moving_bar(count, height=48, width=160):
    """Pictures with a bright column that moves to the right, four pixels a frame."""
    images = []
    for number in range(count):
        image = np.full((height, width, 3), 60, np.uint8)
        image[:, 10 + 4 * number] = 255
        images.append(image)
    return images


def annotated(source, path, **options):
    """(summary, images, times) of an annotated video."""
    summary = annotate_video(OneBox(), source, path, **options)
    return (summary, *read_clip(path))


@pytest.mark.parametrize("batch_size", [1, 4, 50])
def test_frames_in_are_frames_out(tmp_path, batch_size):
    source = open_frames(write_clip(tmp_path / "in.mp4"))
    summary, images, times = annotated(source, tmp_path / "out.mp4", batch_size=batch_size)
    assert summary.frames == len(images) == len(UNEVEN)
    np.testing.assert_allclose(times, np.array(UNEVEN) / 1000, atol=1e-6)
    full, rest = divmod(len(UNEVEN), batch_size)
    assert OneBox.batch_sizes == [batch_size] * full + [rest] * bool(rest)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_summary(tmp_path):
    summary = annotate_video(OneBox(), StillFrames(moving_bar(3)), tmp_path / "out.mp4")
    assert summary.path == tmp_path / "out.mp4" and summary.seconds > 0
    assert summary.frames_per_second == pytest.approx(3 / summary.seconds)
    assert str(summary).startswith(f"Wrote 3 frames to {tmp_path / 'out.mp4'} in ")
    assert str(summary).endswith(" frames a second).")


def test_boxes_lie_where_the_objects_are(tmp_path):
    """Frame and detections stay together through threads and batches."""
    _, images, _ = annotated(StillFrames(moving_bar(30)), tmp_path / "out.mp4", batch_size=4)
    for number, image in enumerate(images):
        # The mask tints all of the box; beside it the picture is grey. The encoder blurs by two pixels or so.
        tinted = np.flatnonzero(np.ptp(image[36].astype(int), axis=1) > 25)
        assert abs(tinted.min() - (2 + 4 * number)) <= 3 and abs(tinted.max() - (17 + 4 * number)) <= 3


def test_score_decides_what_is_drawn(tmp_path):
    _, images, _ = annotated(StillFrames([corners()] * 3), tmp_path / "out.mp4", min_score=0.95)
    assert np.abs(images[0].astype(int) - corners()).mean() < 6
    _, images, _ = annotated(StillFrames([corners()] * 3), tmp_path / "out.mp4", min_score=0.9)
    assert np.abs(images[0].astype(int) - corners()).mean() > 6


def test_colours_stay_when_the_order_changes():
    def found(*boxes):
        count = len(boxes)
        scores = np.linspace(0.9, 0.8, count)
        return Detections(np.float32(boxes), scores, [3] * count, ["a"] * count, np.ones((count, 28, 28)), (100, 100))

    def tint(picture, x, y):
        """Number of the colour of the palette that shines through at a place."""
        change = picture[y, x].astype(int) - 128
        shades = (np.array(PALETTE) - 128) * 0.4
        return int(np.abs(shades - change).sum(axis=1).argmin())

    tracks, grey = ColourTracks(len(PALETTE)), np.full((100, 100, 3), 128, np.uint8)
    left, right = [4, 40, 34, 80], [60, 40, 90, 80]
    first = draw_tracked(grey, found(left, right), tracks)
    second = draw_tracked(grey, found(right, left), tracks)
    assert [tint(first, 20, 70), tint(first, 80, 70)] == [0, 1]
    assert [tint(second, 20, 70), tint(second, 80, 70)] == [0, 1]
    assert (grey == 128).all()


def test_upright_output_has_no_rotation_left(tmp_path):
    path = write_clip(tmp_path / "in.mp4", setup=lambda stream: stream.set_display_rotation(90))
    _, images, _ = annotated(open_frames(path), tmp_path / "out.mp4")
    assert {image.shape for image in images} == {(64, 48, 3)}
    again = list(open_frames(tmp_path / "out.mp4"))
    assert {frame.image.shape for frame in again} == {(64, 48, 3)}


def test_odd_sizes(tmp_path):
    source = open_frames(write_clip(tmp_path / "in.mp4", images=[corners(47, 63)] * len(UNEVEN)))
    _, images, _ = annotated(source, tmp_path / "out.mp4")
    assert len(images) == len(UNEVEN) and images[0].shape == (48, 64, 3)


def test_cut_off_video_is_written_up_to_the_cut(tmp_path):
    path = cut_off(noise_clip(tmp_path / "in.mp4"), 0.6)
    with pytest.raises(VideoError) as caught:
        annotate_video(OneBox(), open_frames(path), tmp_path / "out.mp4", batch_size=3)
    images, _ = read_clip(tmp_path / "out.mp4")
    assert 16 < len(images) < 40
    assert str(caught.value).startswith(f"{path} ")
    assert str(caught.value).endswith(f"; the {len(images)} frames before that are in {tmp_path / 'out.mp4'}")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_nothing_is_left_when_the_model_fails(tmp_path, monkeypatch):
    predict, calls = OneBox.predict, []

    def fail(self, pictures, batch_size):
        calls.append(len(pictures))
        if len(calls) > 2:
            raise RuntimeError("a fault")
        return predict(self, pictures, batch_size)

    monkeypatch.setattr(OneBox, "predict", fail)
    with pytest.raises(RuntimeError, match="a fault"):
        annotate_video(OneBox(), StillFrames(moving_bar(20)), tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == []


class InterruptAt:
    """A progress bar that presses Ctrl-C."""

    def __init__(self, frame):
        self.left = frame

    def update(self, count):
        self.left -= count
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_finishes_the_file(tmp_path):
    source, before = StillFrames(moving_bar(4) * 1000), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as caught:
        annotate_video(OneBox(), source, tmp_path / "out.mp4", progress=InterruptAt(5))
    images, _ = read_clip(tmp_path / "out.mp4")
    assert 5 <= len(images) <= 6
    assert str(caught.value) == f"interrupted; the {len(images)} frames before that are in {tmp_path / 'out.mp4'}"
    assert source.given < 40
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_is_how_a_camera_ends(tmp_path):
    source = StillFrames(moving_bar(4) * 1000)
    source.is_endless = True
    summary = annotate_video(OneBox(), source, tmp_path / "out.mp4", progress=InterruptAt(5))
    assert summary.frames == len(read_clip(tmp_path / "out.mp4")[0])


def test_reading_does_not_run_away_from_writing(tmp_path):
    """However long the video is, few frames are held: no more were read than written and waiting."""
    source, ahead = StillFrames(moving_bar(4) * 12), []

    class Watch:
        done = 0

        def update(self, count):
            self.done += count
            ahead.append(source.given - self.done)

    annotate_video(OneBox(), source, tmp_path / "out.mp4", batch_size=2, progress=Watch())
    # Two queues of two batches, a batch at work, and one frame in each hand.
    assert max(ahead) <= 4 + 4 + 2 + 2


def test_targets_are_checked_first(tmp_path):
    path = write_clip(tmp_path / "in.mp4")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="would be written over"):
        annotate_video(OneBox(), open_frames(path), path)
    with pytest.raises(ValueError, match="videos are written as"):
        annotate_video(OneBox(), open_frames(path), tmp_path / "out.gif")
    assert path.read_bytes() == before


def test_batches_keep_all_frames_before_an_error():
    def frames(count, error=None):
        for number in range(count):
            yield Frame(None, number, 1)
        if error is not None:
            raise error

    def times(count, size):
        return [[frame.time for frame in batch] for batch in batches(frames(count), size)]

    assert times(5, 2) == [[0, 1], [2, 3], [4]]
    assert times(4, 2) == [[0, 1], [2, 3]]
    assert times(0, 2) == []
    for count, sizes in ((5, [2, 2, 1]), (4, [2, 2]), (0, [])):
        got = []
        with pytest.raises(VideoError, match="damaged"):
            for batch in batches(frames(count, VideoError("damaged")), 2):
                got.append(len(batch))
        assert got == sizes
