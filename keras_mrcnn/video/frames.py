"""Frames of a video file or a camera: upright, RGB, with the times at which they are shown.

PyAV (FFmpeg) decodes. A file that is damaged gives the frames that can be had, then an error that says what is wrong.

Shapes: H W of the upright frame.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from keras_mrcnn.video.frame import Frame, VideoError
from keras_mrcnn.video.image_sequence import ImageSequence, is_pattern
from keras_mrcnn.video.orientation import AS_STORED, display_matrix, is_turned, upright
from keras_mrcnn.video.pyav import load_pyav

DEFAULT_FPS = 25
# What FFmpeg calls a camera, by operating system: its input format, and the place of camera number {}.
CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}")}
# Formats that say how long a video is where it begins; in others the length is read off the last frame, or guessed.
KNOWS_LENGTH = ("mov", "matroska")
UNSPECIFIED_COLOURS, BT709 = 2, 1  # FFmpeg's AVColorSpace
LARGEST_SD_HEIGHT = 576  # players take untagged videos with more rows for BT.709, the colours of HD


def open_frames(source: str | Path, fps: float | None = None):
    """Opens what there is to read frames from.

    Args:
        source: a video file; `camera:0` for the first camera; or a pattern of image files: a number as in
            `frames/%04d.png`, or one with `*`, `?` or `[...]`, in quotes on the command line.
        fps: frames a second of image files, 25 by default; all else has times of its own.

    Returns:
        `VideoFrames` or `ImageSequence`; iterate over it, once, for the `Frame`s.

    Raises:
        VideoError: there is no such thing, or it has no frames.

    Example:
        >>> for frame in open_frames("in.mp4"):  # doctest: +SKIP
        ...     print(frame.image.shape, frame.time)
    """
    name, path = str(source), Path(source)
    camera = re.fullmatch(r"camera:(\d+)", name)
    if not path.exists() and is_pattern(name):
        return ImageSequence(name, DEFAULT_FPS if fps is None else fps)
    if fps is not None:
        raise VideoError(f"{name} has times of its own; leave fps out, which is for image files")
    if camera:
        return open_camera(int(camera[1]))
    if path.is_dir():
        raise VideoError(f"{name} is a folder; name its images with a pattern, such as '{path / '*.png'}'")
    if not path.exists():
        raise VideoError(f"{name} does not exist; name a video file, a pattern of image files, or camera:0")
    return VideoFrames(name, files=(path,))


def open_camera(number: int) -> VideoFrames:
    """Opens a camera of this computer, 0 for the first; its frames end only when they are no longer asked for."""
    if sys.platform not in CAMERAS:
        raise VideoError(f"camera:{number}: cameras are read on Linux and macOS only; record a file first")
    driver, place = CAMERAS[sys.platform]
    return VideoFrames(place.format(number), driver=driver)


class VideoFrames:
    """The frames of a video file or a camera; `open_frames` makes it.

    Attributes:
        name: for messages.
        files: the files that it reads.
        time_base: seconds of a tick, a Fraction.
        rate: frames a second on average, a Fraction.
        num_frames: how many there should be, where that is known; an estimate.
        has_sound, is_endless: whether there is sound beside the pictures; whether it is a camera.
        pixel_aspect: width / height of a pixel of the first frame as shown; known once that was read.
    """

    def __init__(self, place: str, files: tuple = (), driver: str | None = None) -> None:
        self._av = load_pyav()
        self.name, self.files, self.is_endless = place, files, driver is not None
        try:
            self._container = self._av.open(place, format=driver, metadata_errors="replace")
        except (self._av.FFmpegError, OSError, ValueError) as error:
            what = "is not a video that can be read" if files else "cannot be opened as a camera"
            raise VideoError(f"{place} {what} ({reason(error)})") from error
        if not self._container.streams.video:
            self._container.close()
            raise VideoError(f"{place} has no pictures, only sound or other data")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self.has_sound = bool(self._container.streams.audio)
        self.time_base = self._stream.time_base
        self.rate = self._stream.average_rate or self._stream.guessed_rate or Fraction(DEFAULT_FPS)
        self.pixel_aspect = Fraction(1)
        self.num_frames = None if self.is_endless else self._estimate()
        self._broken_packets, self._fault, self._end = 0, None, None

    def __iter__(self) -> Iterator[Frame]:
        first, clock = None, _Clock(max(1, round(1 / (self.rate * self.time_base))))
        try:
            for decoded in self._decoded():
                if first is None:
                    first, matrix = decoded, AS_STORED if self.is_endless else display_matrix(decoded)
                    self._set_pixel_aspect(decoded, matrix)
                image = self._rgb(decoded, first.width, first.height)
                time = clock.time_of(decoded.pts)
                self._end = max(self._end or 0, (decoded.pts or 0) + (decoded.duration or clock.period))
                yield Frame(upright(image, matrix), time, decoded.duration or 0)
            self._check_whole(first is not None)
        finally:
            self._container.close()

    def _decoded(self) -> Iterator:
        """Every frame that the decoder gives. Packets that it cannot use are counted, once there was a frame."""
        started = False
        for packet in self._packets():
            try:
                frames = self._stream.codec_context.decode(packet)
            except self._av.FFmpegError:
                # A recording of a broadcast begins with pieces of frames that came before it.
                self._broken_packets += started
                continue
            started = started or bool(frames)
            yield from frames

    def _packets(self) -> Iterator:
        """The stream's packets, then None, for which the decoder gives the frames that it still holds."""
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    yield packet
        except self._av.FFmpegError as error:
            self._fault = error
        yield None

    def _rgb(self, decoded, width: int, height: int) -> np.ndarray:
        """uint8 [H, W, 3] of the size of the first frame, to which later ones of another size are scaled."""
        hd = decoded.colorspace == UNSPECIFIED_COLOURS and decoded.height > LARGEST_SD_HEIGHT
        colours = {"src_colorspace": BT709} if hd else {}
        return decoded.to_ndarray(format="rgb24", width=width, height=height, **colours)

    def _estimate(self) -> int | None:
        """How many frames the file says it has, or has in its length at its rate."""
        length = self._container.duration  # microseconds
        return self._stream.frames or (round(length * self.rate / 1_000_000) if length and length > 0 else None)

    def _set_pixel_aspect(self, decoded, matrix: np.ndarray) -> None:
        aspect = Fraction(self._stream.sample_aspect_ratio or 1)
        self.pixel_aspect = 1 / aspect if is_turned(matrix) else aspect

    def _check_whole(self, any_frame: bool) -> None:
        """Raises what is to be said about a video that could not be read as it was meant."""
        if not any_frame:
            raise VideoError(f"{self.name}: no frame of it can be decoded; is it a whole video?")
        if self._fault is not None:
            raise VideoError(f"{self.name} cannot be read to its end ({reason(self._fault)})")
        if self._broken_packets:
            raise VideoError(f"{self.name} is damaged: {self._broken_packets} pieces of it cannot be decoded")
        expected = self._expected_end()
        if expected is not None and self._end < expected - 3 / (self.rate * self.time_base):
            seconds = [float(ticks * self.time_base) for ticks in (self._end, expected)]
            raise VideoError(f"{self.name} is cut off: it ends after {seconds[0]:.2f} of {seconds[1]:.2f} seconds")

    def _expected_end(self) -> Fraction | None:
        """When the last frame should end, in ticks, by what the head of the file says."""
        if not self._container.format.name.startswith(KNOWS_LENGTH):
            return None
        if self._stream.duration:
            return Fraction((self._stream.start_time or 0) + self._stream.duration)
        told = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", self._stream.metadata.get("DURATION", ""))
        if not told:
            return None
        return (int(told[1]) * 3600 + int(told[2]) * 60 + Fraction(told[3])) / self.time_base


class _Clock:
    """Times from zero on that always grow: those of the file, and where it has none or jumps back, made up.

    Args:
        period: ticks from one frame to the next where the file does not say.
    """

    def __init__(self, period: int) -> None:
        self.period, self._shift, self._last = period, None, -period

    def time_of(self, stamp: int | None) -> int:
        following = self._last + self.period
        if stamp is not None and (self._shift is None or stamp + self._shift <= self._last):
            self._shift = following - stamp
        self._last = following if stamp is None else stamp + self._shift
        return self._last


def reason(error: Exception) -> str:
    """Why FFmpeg or the system refused, without number and file name."""
    text = getattr(error, "strerror", None) or os.strerror(error.errno) if getattr(error, "errno", 0) else str(error)
    return text[:1].lower() + text[1:]
