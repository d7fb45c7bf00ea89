"""`keras-mrcnn video`: once through a small network that finds something in every picture, and what it tells."""

from __future__ import annotations

import signal
import sys

import numpy as np
import pytest
from command_line import error_line, run
from export.models import confident_model, noise_image
from PIL import Image
from video.clips import UNEVEN, OneBox, StillFrames, corners, cut_off, noise_clip, read_clip, write_clip

from keras_mrcnn.video import frames
from keras_mrcnn.video.writer import VideoWriter


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A name for weights, where the network is not what is tested: a detector without one stands in."""
    # The module, which the command of the same name hides.
    monkeypatch.setattr(sys.modules["keras_mrcnn.cli.video"], "load_model", lambda path: OneBox())
    path = tmp_path / "model.safetensors"
    path.touch()
    return path


def test_help():
    result = run("video", "--help")
    assert result.exit_code == 0 and "video [OPTIONS] WEIGHTS IN OUT" in result.output


def test_video_with_sound_through_a_network(tmp_path):
    weights = tmp_path / "small.safetensors"
    confident_model().save_pretrained(weights)
    images = [noise_image(97, 128, seed=number // 2) for number in range(5)]
    path = write_clip(tmp_path / "in.mp4", UNEVEN[:5], images, sound=True)
    result = run("video", weights, path, tmp_path / "out.mp4", "--min-score", 0.2, "--batch-size", 3)
    assert result.exit_code == 0, result.output
    first, second = result.output.strip().splitlines()
    assert first == f"The sound of {path} is left out: {tmp_path / 'out.mp4'} will have pictures alone."
    assert second.startswith(f"Wrote 5 frames to {tmp_path / 'out.mp4'} in ")
    drawn, times = read_clip(tmp_path / "out.mp4")
    np.testing.assert_allclose(times, np.array(UNEVEN[:5]) / 1000, atol=1e-6)
    assert np.abs(drawn[0][:97].astype(int) - images[0]).mean() > 10  # objects were found and drawn


def test_sequence_of_images(weights, tmp_path):
    for number in range(3):
        Image.fromarray(noise_image(50, 80, seed=number)).save(tmp_path / f"{number:04d}.png")
    result = run("video", weights, tmp_path / "%04d.png", tmp_path / "out.mkv", "--fps", 10)
    assert result.exit_code == 0, result.output
    _, times = read_clip(tmp_path / "out.mkv")
    np.testing.assert_allclose(times, [0, 0.1, 0.2])


def test_cut_off_video(weights, tmp_path):
    path = cut_off(noise_clip(tmp_path / "in.mp4"), 0.5)
    line = error_line(run("video", weights, path, tmp_path / "out.mp4"))
    count = len(read_clip(tmp_path / "out.mp4")[0])
    assert line.endswith(f"the {count} frames before that are in {tmp_path / 'out.mp4'}")


def test_camera_says_how_to_end_and_ctrl_c_ends_it(weights, tmp_path, monkeypatch):
    source = StillFrames([corners()] * 1000)
    source.is_endless = True
    monkeypatch.setattr(frames, "open_frames", lambda name, fps: source)
    write = VideoWriter.write

    def write_and_press(self, *arguments):
        write(self, *arguments)
        if self.num_frames == 4:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(VideoWriter, "write", write_and_press)
    result = run("video", weights, "camera:0", tmp_path / "out.mp4")
    assert result.exit_code == 0, result.output
    first, second = result.output.strip().splitlines()
    assert first == "Press Ctrl-C to end the video." and second.startswith("Wrote 4 frames to ")
    source.is_endless = False
    line = error_line(run("video", weights, "camera:0", tmp_path / "out.mp4"), code=130)
    assert line == f"interrupted; the 4 frames before that are in {tmp_path / 'out.mp4'}"


def test_one_sentence_for_what_cannot_be_used(weights, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    out = tmp_path / "out.mp4"
    assert "text.mp4 is not a video that can be read" in error_line(run("video", weights, tmp_path / "text.mp4", out))
    assert "none.mp4 does not exist" in error_line(run("video", weights, tmp_path / "none.mp4", out))
    assert "no file fits this pattern" in error_line(run("video", weights, tmp_path / "*.png", out))
    path = write_clip(tmp_path / "in.mp4")
    assert "videos are written as" in error_line(run("video", weights, path, tmp_path / "out.txt"))
    assert "would be written over" in error_line(run("video", weights, path, path))
    assert "has times of its own" in error_line(run("video", weights, path, out, "--fps", 10))
    assert "Missing argument 'OUT'" in run("video", weights, path).output
    assert not out.exists()
