"""Draws the detections of a model into a video, frame by frame.

One thread decodes frames and another runs the network, a few frames ahead of the main thread, which draws and writes.
Memory therefore does not grow with the length of the video.

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
from typing import TYPE_CHECKING

import numpy as np

from keras_mrcnn.base.background import ctrl_c_sets, in_background
from keras_mrcnn.base.records import Detections
from keras_mrcnn.video.frame import Frame, VideoError
from keras_mrcnn.video.tracks import ColourTracks
from keras_mrcnn.video.writer import VideoWriter, check_target
from keras_mrcnn.visualize import PALETTE, draw_detections

if TYPE_CHECKING:
    from tqdm import tqdm

    from keras_mrcnn.mask_rcnn.model import MaskRCNN
    from keras_mrcnn.video.frames import VideoFrames
    from keras_mrcnn.video.image_sequence import ImageSequence


@dataclass(frozen=True)
class VideoSummary:
    """Summary of a video that was written.

    Args:
        path: path of the video.
        frames: number of frames.
        seconds: time taken, including the time to build the network's graph.
    """

    path: Path
    frames: int
    seconds: float

    @property
    def frames_per_second(self) -> float:
        """Returns the number of frames written per second of work."""
        return self.frames / max(self.seconds, 1e-9)

    def __str__(self) -> str:
        """Returns the summary as a sentence."""
        speed = f"{self.seconds:.1f} s ({self.frames_per_second:.1f} frames a second)"
        return f"Wrote {self.frames} frames to {self.path} in {speed}."


def annotate_video(
    model: MaskRCNN,
    frames: VideoFrames | ImageSequence,
    target: str | Path,
    *,
    min_score: float = 0.5,
    batch_size: int = 2,
    progress: tqdm | None = None,
) -> VideoSummary:
    """Draws the detections of a model into every frame of a video.

    The new video has the same frames at the same times. Ctrl-C ends it with the current frame; the file is completed
    and kept.

    Args:
        model: the model that detects objects.
        frames: frames from `open_frames`, which can be read only once.
        target: path of the video to write: .mp4, .m4v, .mov, .mkv or .webm.
        min_score: lowest score of the detections that are drawn, 0..1.
        batch_size: how many frames go through the network at once.
        progress: an optional progress bar; `update(1)` is called for each frame.

    Returns:
        `VideoSummary`.

    Raises:
        VideoError: the source is damaged or cut off. The frames before the fault are written first.
        KeyboardInterrupt: Ctrl-C was pressed. The file is completed first. A camera's video does not raise it, because
            Ctrl-C is the only way to end it.
        OSError: the target cannot be written; no part of it is kept.
        ValueError: the target is not the name of a video.

    Example:
        >>> annotate_video(model, open_frames("in.mp4"), "out.mp4", batch_size=4)  # doctest: +SKIP
    """
    check_target(target, frames.files)
    started, stop, tracks, problem = time.perf_counter(), threading.Event(), ColourTracks(len(PALETTE)), None
    detected = in_background(_detect(model, frames, batch_size, stop), 2 * batch_size, stop)
    with closing(detected), ctrl_c_sets(stop), VideoWriter(target, frames.time_base, frames.rate) as writer:
        try:
            for frame, detections in detected:
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
    """Draws the detections of the next frame in the colours of their tracks.

    Args:
        image: uint8 [H, W, 3], the frame.
        detections: the detections in the frame.
        tracks: the tracks of the frames before, which are updated.

    Returns:
        uint8 [H, W, 3], a new picture.
    """
    colours = tracks.update(detections)
    # Without class names, draw_detections uses the first colour of the palette for category 1, the second for 2, etc.
    return draw_detections(image, replace(detections, category_ids=colours + 1), min_score=0.0)


def _detect(
    model: MaskRCNN, frames: VideoFrames | ImageSequence, batch_size: int, stop: threading.Event
) -> Generator[tuple[Frame, Detections], None, None]:
    """Yields every frame with its detections."""
    with closing(in_background(iter(frames), 2 * batch_size, stop)) as decoded:
        for batch in batches(decoded, batch_size):
            yield from zip(batch, model.predict([frame.image for frame in batch], batch_size))


def batches(frames: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    """Yields lists of frames.

    Args:
        frames: the frames, in order.
        size: length of the lists; the last one may be shorter.

    Raises:
        VideoError: `frames` raised it. The frames before it are yielded first.
    """
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
