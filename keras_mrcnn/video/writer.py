"""Writes frames into a video file, which appears complete or not at all.

Shapes: H W of a frame.
"""

from __future__ import annotations

import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.video.frames import reason
from keras_mrcnn.video.pyav import load_pyav

# Without B-frames: with them, players misjudge the length of a video with uneven frame times.
H264 = ("libx264", {"crf": "20", "preset": "veryfast", "bf": "0"})
VP9 = ("libvpx-vp9", {"crf": "30", "b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"})
# Suffix of the file, which determines the container -> its encoder and the encoder's settings.
ENCODERS = {".mp4": H264, ".m4v": H264, ".mov": H264, ".mkv": H264, ".webm": VP9}
KEEP_DURATIONS = {"flags": "+frame_duration"}  # keeps the duration of each frame, which matters for the last one
FINEST_TICK = Fraction(1, 1_000_000)  # seconds; containers count in 32 bits
BT709 = 1  # the same number in all of FFmpeg's colour properties
LIMITED_RANGE = 1  # FFmpeg's AVColorRange


def check_target(path: str | Path, inputs: tuple = ()) -> Path:
    """Checks that a video can be written to a path, before any work is done.

    Args:
        path: path of the file to write.
        inputs: files that must not be overwritten.

    Returns:
        `path` as a Path.

    Raises:
        ValueError: the suffix is not that of a supported container, or the path is a folder or one of the inputs.
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
    """Writer of a video file, for use in a `with` block.

    The first frame creates a temporary file in the same folder, which gets its final name when the block ends. If the
    block ends with an exception or without a frame, no file remains.

    Args:
        path: path of the file. Its suffix, a key of `ENCODERS`, determines the container and encoder. Missing folders
            are made.
        time_base: duration of a tick in seconds.
        rate: average number of frames per second, for the file's header.

    Attributes:
        num_frames: number of frames written so far.

    Raises:
        ValueError: the path is not that of a video.
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
        """Returns the writer itself."""
        return self

    def write(self, image: np.ndarray, time: int, duration: int = 0, pixel_aspect: Fraction = Fraction(1)) -> None:
        """Writes a frame.

        Args:
            image: uint8 [H, W, 3], RGB, of the same size as the first frame. If a side is odd, its last row or column
                of pixels is repeated, because the encoders store colours in blocks of 2 x 2 pixels.
            time: when the frame is shown, in ticks; later than the frame before.
            duration: how long the frame is shown, in ticks; 0 means until the next frame.
            pixel_aspect: width / height of a pixel; only that of the first frame counts.

        Raises:
            OSError: the file cannot be written; the message names it.
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Completes the file, or removes it if the block ended with an exception."""
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
        """Creates the temporary file and its video stream."""
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
        self._container.start_encoding()  # now rather than with the first packet, which comes much later

    def _rescaled(self, ticks: int) -> int:
        """Converts ticks of the caller to ticks of the file."""
        return round(ticks * self._ticks / self._time_base)

    def _failure(self, error: Exception) -> OSError:
        """Returns an error that names the file and the reason."""
        return OSError(f"{self.path} cannot be written ({reason(error)})")
