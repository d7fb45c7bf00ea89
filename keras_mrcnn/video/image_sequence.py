"""Reads image files as the frames of a video."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from keras_mrcnn.base.image_files import ImageError, read_image
from keras_mrcnn.video.frame import Frame, VideoError

NUMBER = re.compile(r"%(?:0(\d+))?d")


class ImageSequence:
    """Image files as the frames of a video, in the order of the numbers in their names.

    It has the same attributes as `VideoFrames`.

    Args:
        pattern: file names with a number as in `frames/%04d.png`, or with `*`, `?` or `[...]`.
        fps: frames per second.

    Raises:
        VideoError: no file fits the pattern, or `fps` is not positive.
    """

    has_sound = is_endless = False
    pixel_aspect = Fraction(1)

    def __init__(self, pattern: str, fps: float) -> None:
        if fps <= 0:
            raise VideoError(f"fps is {fps}; give the frames a second, more than 0")
        self.name, self.files = pattern, tuple(find_images(pattern))
        if not self.files:
            raise VideoError(f"{pattern}: no file fits this pattern")
        self.rate = Fraction(fps).limit_denominator(1001)
        self.time_base = 1 / self.rate
        self.num_frames = len(self.files)

    def __iter__(self) -> Iterator[Frame]:
        """Yields the images as frames."""
        shape = None
        for number, path in enumerate(self.files):
            try:
                image = read_image(path)
            except ImageError as error:
                raise VideoError(str(error)) from error
            shape = shape or image.shape
            if image.shape != shape:
                sizes = [f"{width} x {height}" for height, width, _ in (image.shape, shape)]
                raise VideoError(f"{path} has {sizes[0]} pixels and {self.files[0]} has {sizes[1]}; make them one size")
            yield Frame(image, number, 1)


def is_pattern(name: str) -> bool:
    """Returns whether a name is a pattern of several files."""
    return bool(NUMBER.search(Path(name).name)) or glob.has_magic(name)


def find_images(pattern: str) -> list[Path]:
    """Returns the files that fit a pattern, sorted by the numbers in their names: 9.png comes before 10.png."""
    path = Path(pattern)
    numbered = NUMBER.search(path.name)
    if not numbered:
        paths = [Path(name) for name in glob.glob(pattern, recursive=True)]
    else:
        before, after = path.name[: numbered.start()], path.name[numbered.end() :]
        matching = re.compile(re.escape(before) + rf"\d{{{int(numbered[1] or 1)},}}" + re.escape(after))
        paths = [candidate for candidate in path.parent.glob("*") if matching.fullmatch(candidate.name)]
    return sorted((candidate for candidate in paths if candidate.is_file()), key=_natural)


def _natural(path: Path) -> tuple:
    """Returns a sort key that orders the numbers in a name by value."""
    parts = re.split(r"([0-9]+)", str(path))
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], str(path)
