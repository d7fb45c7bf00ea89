"""Frames into a video file, which appears whole or not at all.

Shapes: H W of a frame.
"""

from __future__ import annotations

import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.video.frames import reason
from keras_mrcnn.video.pyav import load_pyav

# Without B-frames: players take the length of a video with uneven times for that of its decoding times.
H264 = ("libx264", {"crf": "20", "preset": "veryfast", "bf": "0"})
VP9 = ("libvpx-vp9", {"crf": "30", "b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"})
# Container by the end of the file's name -> its encoder, with the encoder's settings.
ENCODERS = {".mp4": H264, ".m4v": H264, ".mov": H264, ".mkv": H264, ".webm": VP9}
KEEP_DURATIONS = {"flags": "+frame_duration"}  # of frames; it matters for the last one
FINEST_TICK = Fraction(1, 1_000_000)  # seconds; containers count in 32 bits
BT709 = 1  # in all of FFmpeg's lists of colour properties
LIMITED_RANGE = 1  # FFmpeg's AVColorRange


def check_target(path: str | Path, inputs: tuple = ()) -> Path:
    """Says what is wrong with the place for a video before anything is done.

    Args:
        path: of the file to write.
        inputs: files that must not be written over.

    Returns:
        path.

    Raises:
        ValueError: its suffix is that of no container, it is a folder, or one of the inputs.
    """
    path = Path(path)
    if path.suffix.lower() not in ENCODERS:
        raise UserError(f"{path}: videos are written as {', '.join(ENCODERS)}; give a name that ends so")
    if path.is_dir():
        raise UserError(f"{path} is a folder; name the file to write")
    if path.exists() and any(os.path.samefile(path, one) for one in inputs):
        raise UserError(f"{path} would be written over while it is read; choose another name")
    return path


class VideoWriter:
    """A video file that is being written; use it in a `with` block.

    The file is begun with the first frame, under a temporary name beside its own, and gets its name when the block
    ends, unless by an exception or without a frame: then nothing is left.

    Args:
        path: of the file; its suffix, a key of `ENCODERS`, decides on container and encoder. Folders are made.
        time_base: seconds of a tick.
        rate: frames a second on average, for the file's head.

    Attributes:
        num_frames: how many were written.

    Raises:
        ValueError: the path cannot be that of a video.
        OSError: the file cannot be written; the message names it.

    Example:
        >>> with VideoWriter("out.mp4", Fraction(1, 25), Fraction(25)) as writer:  # doctest: +SKIP
        ...     writer.write(image, time=0)
    """

    def __init__(self, path: str | Path, time_base: Fraction, rate: Fraction) -> None:
        self.path = check_target(path)
        self.num_frames = 0
        self._av = load_pyav()
        self._time_base, self._ticks = max(Fraction(time_base), FINEST_TICK), Fraction(time_base)
        self._rate = rate
        self._temporary = self.path.with_name(f".{self.path.stem}.partial{self.path.suffix}")
        self._container = self._stream = None

    def __enter__(self) -> VideoWriter:
        return self

    def write(self, image: np.ndarray, time: int, duration: int = 0, pixel_aspect: Fraction = Fraction(1)) -> None:
        """Adds a frame.

        Args:
            image: uint8 [H, W, 3], RGB; of the size of the first one. A side that is odd gets one more row or column
                of pixels, like the last, because the encoders store colours for blocks of 2 x 2.
            time: when it is shown, in ticks; more than that of the frame before.
            duration: for how long, in ticks; 0 where only the next frame tells.
            pixel_aspect: width / height of a pixel; that of the first frame counts.
        """
        image = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge")
        try:
            if self._container is None:
                self._begin(image.shape[0], image.shape[1], pixel_aspect)
            frame = self._av.VideoFrame.from_ndarray(image, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=BT709, dst_color_range=LIMITED_RANGE)
            frame.time_base = self._time_base
            frame.pts, frame.duration = self._rescaled(time), self._rescaled(duration)
            self._container.mux(self._stream.encode(frame))
        except (self._av.FFmpegError, OSError) as error:
            raise self._failure(error) from error
        self.num_frames += 1

    def __exit__(self, kind, error, trace) -> None:
        if self._container is None:
            return
        try:
            if kind is None:
                self._container.mux(self._stream.encode(None))
                self._container.close()
                os.replace(self._temporary, self.path)
        except (self._av.FFmpegError, OSError) as problem:
            raise self._failure(problem) from problem
        finally:
            with suppress(Exception):
                self._container.close()
            self._temporary.unlink(missing_ok=True)

    def _begin(self, height: int, width: int, pixel_aspect: Fraction) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        encoder, options = ENCODERS[self.path.suffix.lower()]
        self._container = self._av.open(str(self._temporary), "w")
        self._stream = self._container.add_stream(encoder, rate=self._rate, options={**options, **KEEP_DURATIONS})
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        context = self._stream.codec_context
        self._stream.time_base = context.time_base = self._time_base
        context.sample_aspect_ratio = pixel_aspect
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED_RANGE
        self._container.start_encoding()  # now, rather than with the first packet, much later

    def _rescaled(self, ticks: int) -> int:
        return round(ticks * self._ticks / self._time_base)

    def _failure(self, error: Exception) -> OSError:
        return OSError(f"{self.path} cannot be written ({reason(error)})")
