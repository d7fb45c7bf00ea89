"""A video with the objects that the model finds drawn into it, frame by frame.

Frames are decoded in one thread and go through the network in another, a few frames ahead of the one that draws and
writes, so memory does not grow with the length of the video.

Shapes: B batch, H W of a frame, D detections.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from keras_mrcnn.base.background import ctrl_c_sets, in_background
from keras_mrcnn.base.records import Detections
from keras_mrcnn.video.frame import Frame, VideoError
from keras_mrcnn.video.tracks import ColourTracks
from keras_mrcnn.video.writer import VideoWriter, check_target
from keras_mrcnn.visualize import PALETTE, draw_detections


@dataclass(frozen=True)
class VideoSummary:
    """What was written.

    Args:
        path: of the video.
        frames: how many it has.
        seconds: how long it took, with the time in which the network's graph is made.
    """

    path: Path
    frames: int
    seconds: float

    @property
    def frames_per_second(self) -> float:
        return self.frames / max(self.seconds, 1e-9)

    def __str__(self) -> str:
        speed = f"{self.seconds:.1f} s ({self.frames_per_second:.1f} frames a second)"
        return f"Wrote {self.frames} frames to {self.path} in {speed}."


def annotate_video(model, frames, target, *, min_score=0.5, batch_size=2, progress=None) -> VideoSummary:
    """Draws what the model finds into every frame. The output has a frame for each one, shown at the same time.

    Ctrl-C ends the video with the frame that is being drawn; the file is finished and kept.

    Args:
        model: `MaskRCNN`.
        frames: what `open_frames` gives; it is used up.
        target: path of the video to write: .mp4, .m4v, .mov, .mkv or .webm.
        min_score: detections from this score on are drawn, 0..1.
        batch_size: how many frames go through the network at once.
        progress: None or a tqdm bar; its `update(1)` is called for each frame.

    Returns:
        `VideoSummary`.

    Raises:
        VideoError: the source is damaged or cut off; raised after the frames before that were written.
        KeyboardInterrupt: after Ctrl-C and after the file was finished; not with a camera, which has no other end.
        OSError: the target cannot be written; then nothing is left of it.
        ValueError: the target cannot be the name of a video.

    Example:
        >>> annotate_video(model, open_frames("in.mp4"), "out.mp4", batch_size=4)  # doctest: +SKIP
    """
    check_target(target, frames.files)
    started, stop, tracks, problem = time.perf_counter(), threading.Event(), ColourTracks(len(PALETTE)), None
    found = in_background(_detect(model, frames, batch_size, stop), 2 * batch_size, stop)
    with closing(found), ctrl_c_sets(stop), VideoWriter(target, frames.time_base, frames.rate) as writer:
        try:
            for frame, detections in found:
                picture = draw_tracked(frame.image, detections.above(min_score), tracks)
                writer.write(picture, frame.time, frame.duration, frames.pixel_aspect)
                if progress is not None:
                    progress.update(1)
        except VideoError as error:
            problem = str(error)
        interrupted = stop.is_set() and problem is None
    kept = f"the {writer.num_frames} frames before that are in {target}" if writer.num_frames else "nothing is written"
    if problem:
        raise VideoError(f"{problem}; {kept}")
    if interrupted and not (frames.is_endless and writer.num_frames):
        raise KeyboardInterrupt(f"interrupted; {kept}")
    return VideoSummary(writer.path, writer.num_frames, time.perf_counter() - started)


def draw_tracked(image: np.ndarray, detections: Detections, tracks: ColourTracks) -> np.ndarray:
    """Draws the detections of the next frame in the colours of their tracks: uint8 [H, W, 3]."""
    colours = tracks.update(detections)
    # Without class names, draw_detections gives category 1 the first colour of the palette, 2 the second, and so on.
    return draw_detections(image, replace(detections, category_ids=colours + 1), min_score=0.0)


def _detect(model, frames, batch_size: int, stop: threading.Event) -> Generator[tuple[Frame, Detections], None, None]:
    """Gives every frame with the detections in it."""
    with closing(in_background(iter(frames), 2 * batch_size, stop)) as decoded:
        for batch in batches(decoded, batch_size):
            yield from zip(batch, model.predict([frame.image for frame in batch], batch_size))


def batches(frames: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    """Lists of `size` frames, the last one shorter. A `VideoError` of the frames comes after all of them."""
    problem, batch = None, [None]
    while batch and problem is None:
        batch = []
        try:
            for frame in islice(frames, size):
                batch.append(frame)
        except VideoError as error:
            problem = error
        if batch:
            yield batch
    if problem is not None:
        raise problem
