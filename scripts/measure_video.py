"""Draws detections into a 10-second 720p video: frames in and out, frames per second, and is memory flat?

    python scripts/measure_video.py runs/first
    python scripts/measure_video.py model.safetensors --batch-size 8 --keep annotated.mp4

The video is made here: a camera pans over a generated scene. Growth is the slope of a straight line through the
resident memory after each tenth of the frames, the first three tenths left out, in MB for 1,000 frames. Below 200
frames it is not printed, for it would be the warm-up.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
from measure_memory import growth, resident_mb

HEIGHT, WIDTH, FPS = 720, 1280, 30
LEAST_FRAMES = 200


def make_video(path: Path, num_frames: int) -> None:
    """Writes a pan over a scene, there and back, as 720p."""
    from keras_mrcnn.scenes.generator import draw_scene
    from keras_mrcnn.video.writer import VideoWriter

    margin = 160
    scene, _ = draw_scene(np.random.default_rng(5), (HEIGHT + margin,) * 2, (WIDTH + margin,) * 2)
    with VideoWriter(path, Fraction(1, FPS), Fraction(FPS)) as writer:
        for number in range(num_frames):
            across = round(margin * (0.5 - 0.5 * np.cos(number / 40)))
            down = round(margin * (0.5 - 0.5 * np.cos(number / 60)))
            writer.write(scene[down : down + HEIGHT, across : across + WIDTH], number, 1)


def count_frames(path: Path) -> int:
    """Counts the frames of a video."""
    from keras_mrcnn.video.frames import open_frames

    return sum(1 for _ in open_frames(path))


class Watch:
    """A progress bar that records the memory after each tenth of the frames."""

    def __init__(self, num_frames: int) -> None:
        self.done, self.step, self.points = 0, max(num_frames // 10, 1), []

    def update(self, count: int) -> None:
        """Counts frames, and records the memory when a tenth is done."""
        self.done += count
        if self.done % self.step == 0:
            self.points.append((self.done, resident_mb()))
            print(f"    {self.done} frames: {self.points[-1][1]:.0f} MB", flush=True)


def main() -> None:
    """Makes and annotates a video and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="weight file, or the folder of a run")
    parser.add_argument("--seconds", type=int, default=10, help="length of the video")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--min-score", type=float, default=0.5)
    parser.add_argument("--keep", type=Path, help="where to leave the annotated video (.mp4)")
    arguments = parser.parse_args()

    from keras_mrcnn.cli.locations import load_model
    from keras_mrcnn.video.annotate import annotate_video
    from keras_mrcnn.video.frames import open_frames

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.mp4", Path(folder) / "out.mp4"
        make_video(source, FPS * arguments.seconds)
        watch = Watch(FPS * arguments.seconds)
        options = {"min_score": arguments.min_score, "batch_size": arguments.batch_size, "progress": watch}
        summary = annotate_video(load_model(arguments.weights), open_frames(source), target, **options)
        counts = count_frames(source), count_frames(target)
        if arguments.keep:
            shutil.copy(target, arguments.keep)
    print(f"{WIDTH} x {HEIGHT}, {counts[0]} frames in, {counts[1]} frames out")
    print(f"{summary.frames_per_second:.2f} frames a second, in batches of {arguments.batch_size}")
    if counts[0] >= LEAST_FRAMES:
        print(f"memory grows by {growth(watch.points):+.1f} MB for 1,000 frames")
    else:
        print(f"the video is too short to say how memory grows: give it {LEAST_FRAMES} frames or more with --seconds")
    if counts[0] != counts[1]:
        raise SystemExit("frames were lost or made up")


if __name__ == "__main__":
    main()
