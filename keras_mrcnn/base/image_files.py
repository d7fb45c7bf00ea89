"""Reads pixels from image files, their bytes, Pillow images and arrays, and the size from the header alone.

Pillow decodes the files. The result is always uint8 [H, W, C] and upright: the EXIF orientation is applied, palettes
and CMYK are converted, and 16-bit, 32-bit and float grey is scaled to 8 bits.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, Union

import numpy as np
from PIL import Image, ImageOps

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.silent_pillow import silent_pillow

# The images in folders; a file that the user names is read whatever its suffix.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
Picture = Union[str, os.PathLike, bytes, np.ndarray, Image.Image]

# Pillow's mode for each number of channels: grey, RGB, RGB with alpha.
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)  # the EXIF tag, and its values that swap height and width
# Pillow converts these modes to RGB only by way of another mode.
_ON_THE_WAY_TO_RGB = {"P": "RGBA", "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}


class ImageError(UserError):
    """An error for a picture that cannot be used; its message is one sentence that names the file or the argument."""


def read_image(picture: Picture, name: str = "image", channels: int = 3) -> np.ndarray:
    """Reads a picture, and returns its upright pixels.

    Args:
        picture: path of an image file of any format that Pillow reads, the bytes of one, a Pillow image, or a uint8
            array [H, W, channels] or [H, W] (grey).
        name: name in error messages of a picture that has no path.
        channels: 1 for grey, 3 for RGB, 4 for RGB with alpha.

    Returns:
        uint8 [H, W, channels], 0..255.

    Raises:
        ImageError: the file is missing, truncated or not an image, or the array has another dtype or shape.

    Example:
        >>> read_image(np.full((2, 3), 7, np.uint8)).shape
        (2, 3, 3)
    """
    if isinstance(picture, np.ndarray):
        return _checked(picture, name, channels)
    if isinstance(picture, Image.Image):
        return _checked(_decoded(picture, name, channels), name, channels)
    if isinstance(picture, bytes):
        return _decoded(io.BytesIO(picture), name, channels)
    if not isinstance(picture, (str, os.PathLike)):
        raise ImageError(f"{name} is a {type(picture).__name__}, expected a path, a NumPy array or a Pillow image")
    return _decoded(io.BytesIO(_content(picture)), _file_name(picture), channels)


def read_image_size(picture: str | os.PathLike | bytes, name: str = "image") -> tuple[int, int]:
    """Reads the size of an upright picture from the header of its file, without decoding the pixels.

    Args:
        picture: path of an image file of any format that Pillow reads, or the bytes of one.
        name: name in error messages of a picture that has no path.

    Returns:
        (height, width) in pixels, as `read_image` gives them: with the EXIF orientation applied.

    Raises:
        ImageError: the file is missing or not an image.

    Example:
        >>> content = io.BytesIO()
        >>> Image.new("RGB", (3, 2)).save(content, format="PNG")
        >>> read_image_size(content.getvalue())
        (2, 3)
    """
    if isinstance(picture, bytes):
        return _upright_size(io.BytesIO(picture), name)
    name = _file_name(picture)
    with _opened(picture, name) as file:
        return _upright_size(file, name)


def read_image_format(content: bytes, name: str = "image") -> str:
    """Returns Pillow's name for the format of an image file, such as "JPEG".

    Args:
        content: the bytes of the file.
        name: name in error messages.

    Raises:
        ImageError: the bytes are no image.
    """
    with decoding(name), Image.open(io.BytesIO(content)) as image:
        return image.format


def _upright_size(file: BinaryIO, name: str) -> tuple[int, int]:
    """Returns (height, width) of an open image file, turned upright."""
    with decoding(name), Image.open(file) as image:
        width, height = image.size
        if image.format == "TIFF":  # some versions of Pillow have turned the size already
            width, height = image.tag_v2[256], image.tag_v2[257]
        ask_pillow = image.format != "PNG" or _has_late_text(file)  # Pillow decodes a PNG to see the end of the file
        exif = image.getexif() if ask_pillow else Image.Image.getexif(image)
        orientation = exif.get(_ORIENTATION)
        return (width, height) if orientation in _TURNED else (height, width)


def _has_late_text(file: BinaryIO) -> bool:
    """Returns whether a PNG file has metadata behind its pixels."""
    place, seen = file.tell(), False
    file.seek(8)
    while len(header := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", header)
        seen |= kind == b"IDAT"
        if seen and kind in (b"eXIf", b"iTXt", b"tEXt", b"zTXt"):
            break
        file.seek(length + 4, os.SEEK_CUR)
    file.seek(place)
    return len(header) == 8


def _file_name(path: str | os.PathLike) -> str:
    """Returns the name of an image file in error messages."""
    return f"image file {os.fspath(path)}"


@contextlib.contextmanager
def _opened(path: str | os.PathLike, name: str) -> Iterator[BinaryIO]:
    """Opens an image file, or raises ImageError if it is missing or cannot be read."""
    if not os.path.exists(path):  # unlike Path.exists, without an error for a name that no file can have
        raise ImageError(f"{name} does not exist; check the path")
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise ImageError(f"{name} cannot be read ({error.strerror}); check the path and its permissions") from error


def _content(path: str | os.PathLike) -> bytes:
    """Returns the bytes of an image file."""
    with _opened(path, _file_name(path)) as file:
        return file.read()


def _checked(array: np.ndarray, name: str, channels: int) -> np.ndarray:
    """Returns an array [H, W, channels] or [H, W] as [H, W, channels], or raises ImageError."""
    if array.dtype != np.uint8 or array.size == 0 or (array.ndim != 2 and array.shape[2:] != (channels,)):
        raise ImageError(
            f"{name} is {array.dtype} {list(array.shape)}, expected a uint8 array [H, W, {channels}] "
            f"({'grey' if channels == 1 else MODES[channels]}) or [H, W] (grey)"
        )
    return array if array.ndim == 3 else _from_grey(array, channels)


def _decoded(source: BinaryIO | Image.Image, name: str, channels: int) -> np.ndarray:
    """Returns the upright pixels of an image or an image file: uint8 [H, W, channels]."""
    with decoding(name):
        image = source if isinstance(source, Image.Image) else Image.open(source)
        image.load()
        return _to_8_bits(ImageOps.exif_transpose(image), channels)


@contextlib.contextmanager
def decoding(name: str) -> Iterator[None]:
    """Silences Pillow's warnings while the block runs, and turns every exception of its decoders into ImageError.

    Args:
        name: name of the image in error messages.
    """
    try:
        with silent_pillow():
            yield
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} has too many pixels ({error}); make it smaller") from error
    except Image.UnidentifiedImageError as error:
        raise ImageError(f"{name} is not an image that Pillow knows; replace or remove it") from error
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, ... on broken data
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{name} is damaged ({reason}); replace or remove it") from error


def _to_8_bits(image: Image.Image, channels: int) -> np.ndarray:
    """Converts an upright image of any mode to uint8 [H, W, channels]."""
    if image.mode[0] not in "IF":
        step = _ON_THE_WAY_TO_RGB.get(image.mode)
        pixels = np.array((image.convert(step) if step else image).convert(MODES[channels]))
        return pixels[..., None] if channels == 1 else pixels
    # Pillow's own conversion clips deeper grey at 255 instead of scaling it.
    grey = np.nan_to_num(np.asarray(image).astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = grey.min(), grey.max()
    if low < 0 or high > 65535:
        grey, white = grey - low, (high - low) or 1.0
    elif image.mode.startswith("I;16") or high > 255:
        white = 65535.0
    else:
        white = 1.0 if high <= 1 else 255.0
    return _from_grey(np.round(grey * (255.0 / white)).clip(0, 255).astype(np.uint8), channels)


def _from_grey(grey: np.ndarray, channels: int) -> np.ndarray:
    """Converts uint8 [H, W] to uint8 [H, W, channels]; an alpha channel becomes opaque."""
    colours = np.repeat(grey[..., None], min(channels, 3), axis=-1)
    return np.dstack([colours, np.full_like(grey, 255)]) if channels == 4 else colours
