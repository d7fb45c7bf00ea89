"""Reads the frames of a video file or a camera: upright, in RGB, with the times at which they are shown.

PyAV (FFmpeg) decodes the frames. A damaged file yields the frames that can be decoded, then raises an error that says
what is wrong.

Shapes: H W of the upright frame.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_mrcnn.video.frame import Frame, VideoError
from keras_mrcnn.video.image_sequence import ImageSequence, is_pattern
from keras_mrcnn.video.orientation import AS_STORED, display_matrix, is_turned, upright
from keras_mrcnn.video.pyav import load_pyav

if TYPE_CHECKING:
    import av

DEFAULT_FPS = 25
# FFmpeg's input format for cameras and the name of camera number {}, by operating system.
CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}")}
# Formats whose header gives the length of a video; in others FFmpeg takes it from the last frame or guesses.
KNOWS_LENGTH = ("mov", "matroska")
UNSPECIFIED_COLOURS, BT709 = 2, 1  # FFmpeg's AVColorSpace
LARGEST_SD_HEIGHT = 576  # players assume BT.709, the colours of HD, for larger untagged videos


def open_frames(source: str | Path, fps: float | None = None) -> VideoFrames | ImageSequence:
    """Opens a video file, a camera or a sequence of image files.

    Args:
        source: a video file, `camera:0` for the first camera, or a pattern of image files: with a number as in
            `frames/%04d.png`, or with `*`, `?` or `[...]`, which need quotes on the command line.
        fps: frames per second of image files, 25 by default. Videos and cameras have their own times.

    Returns:
        `VideoFrames` or `ImageSequence`. Iterate over it, only once, to read the `Frame`s.

    Raises:
        VideoError: the source does not exist, cannot be opened or has no frames.

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
    """Opens a camera of this computer. Its frames never end.

    Args:
        number: number of the camera, 0 for the first.

    Raises:
        VideoError: the camera cannot be opened, or cameras are not supported on this operating system.
    """
    if sys.platform not in CAMERAS:
        raise VideoError(f"camera:{number}: cameras are read on Linux and macOS only; record a file first")
    driver, place = CAMERAS[sys.platform]
    return VideoFrames(place.format(number), driver=driver)


class VideoFrames:
    """The frames of a video file or a camera. Call `open_frames` to make one.

    Attributes:
        name: name for messages.
        files: the files that are read.
        time_base: duration of a tick in seconds, a Fraction.
        rate: average number of frames per second, a Fraction.
        num_frames: estimated number of frames, or None if it is unknown.
        has_sound: whether the source has sound.
        is_endless: whether the source is a camera.
        pixel_aspect: width / height of a pixel of the upright frame, a Fraction; known once the first frame is read.
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
        """Yields the frames, and closes the source at the end."""
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

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """Yields every decoded frame. Packets after the first frame that cannot be decoded are counted."""
        started = False
        for packet in self._packets():
            try:
                frames = self._stream.codec_context.decode(packet)
            except self._av.FFmpegError:
                # A recording of a broadcast begins with fragments of earlier frames.
                self._broken_packets += started
                continue
            started = started or bool(frames)
            yield from frames

    def _packets(self) -> Iterator[av.Packet | None]:
        """Yields the packets of the stream, then None, which makes the decoder return its remaining frames."""
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    yield packet
        except self._av.FFmpegError as error:
            self._fault = error
        yield None

    def _rgb(self, decoded: av.VideoFrame, width: int, height: int) -> np.ndarray:
        """Returns a frame as uint8 [height, width, 3], resized to the size of the first frame if necessary."""
        hd = decoded.colorspace == UNSPECIFIED_COLOURS and decoded.height > LARGEST_SD_HEIGHT
        colours = {"src_colorspace": BT709} if hd else {}
        return decoded.to_ndarray(format="rgb24", width=width, height=height, **colours)

    def _estimate(self) -> int | None:
        """Returns the number of frames that the file states or that its length implies, or None if it has neither."""
        length = self._container.duration  # microseconds
        return self._stream.frames or (round(length * self.rate / 1_000_000) if length and length > 0 else None)

    def _set_pixel_aspect(self, decoded: av.VideoFrame, matrix: np.ndarray) -> None:
        """Sets `pixel_aspect`, with width and height swapped if the matrix turns the video on its side."""
        aspect = Fraction(self._stream.sample_aspect_ratio or 1)
        self.pixel_aspect = 1 / aspect if is_turned(matrix) else aspect

    def _check_whole(self, any_frame: bool) -> None:
        """Raises VideoError if the video is damaged, cut off or without frames."""
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
        """Returns the end of the last frame in ticks according to the header of the file, or None if unknown."""
        if not self._container.format.name.startswith(KNOWS_LENGTH):
            return None
        if self._stream.duration:
            return Fraction((self._stream.start_time or 0) + self._stream.duration)
        duration = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", self._stream.metadata.get("DURATION", ""))
        if not duration:
            return None
        return (int(duration[1]) * 3600 + int(duration[2]) * 60 + Fraction(duration[3])) / self.time_base


class _Clock:
    """Clock whose times start at zero and always grow.

    It keeps the intervals of the file. Where the file has no times or jumps back, it adds a fixed period instead.

    Args:
        period: ticks from one frame to the next if the file does not say.
    """

    def __init__(self, period: int) -> None:
        self.period, self._shift, self._last = period, None, -period

    def time_of(self, stamp: int | None) -> int:
        """Returns the time of the next frame, whose time in the file is `stamp`, or None."""
        following = self._last + self.period
        if stamp is not None and (self._shift is None or stamp + self._shift <= self._last):
            self._shift = following - stamp
        self._last = following if stamp is None else stamp + self._shift
        return self._last


def reason(error: Exception) -> str:
    """Returns the message of an error of FFmpeg or the operating system, without its number and file name."""
    text = getattr(error, "strerror", None) or os.strerror(error.errno) if getattr(error, "errno", 0) else str(error)
    return text[:1].lower() + text[1:]
