"""Pictures of any kind as what an exported model takes: upright RGB, uint8.

The same pixels as `keras_mrcnn.data.images` gives, with Pillow and NumPy alone: EXIF orientation applied, grey
repeated over three channels, alpha dropped, palettes looked up, CMYK converted, deeper grey brought to 8 bits.
"""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import BinaryIO, Union

import numpy as np
from PIL import Image, ImageOps

from keras_mrcnn.errors import UserError

Picture = Union[str, os.PathLike, np.ndarray, Image.Image]

# Pillow reaches RGB from these modes only by way of another.
_ON_THE_WAY_TO_RGB = {"P": "RGBA", "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}


class ImageError(UserError):
    """A picture that cannot be used; the message is one sentence that names the file or the argument."""


def to_rgb(picture: Picture, name: str = "image") -> np.ndarray:
    """Returns a picture as upright RGB.

    Args:
        picture: path of an image file, uint8 array [H, W, 3] (RGB) or [H, W] (grey), or a Pillow image.
        name: what error messages call a picture that has no path.

    Returns:
        uint8 [H, W, 3], RGB, 0..255.

    Raises:
        ImageError: the file is missing or damaged, or the array has another dtype or shape.

    Example:
        >>> to_rgb(np.full((2, 3), 7, np.uint8)).shape
        (2, 3, 3)
    """
    if isinstance(picture, np.ndarray):
        return _checked(picture, name)
    if isinstance(picture, Image.Image):
        return _checked(_decoded(picture, name), name)
    if not isinstance(picture, (str, os.PathLike)):
        raise ImageError(f"{name} is a {type(picture).__name__}, expected a path, a NumPy array or a Pillow image")
    name = f"image file {os.fspath(picture)}"
    try:
        content = Path(picture).read_bytes()
    except OSError as error:
        raise ImageError(f"{name} cannot be read ({error.strerror}); check the path") from error
    return _decoded(io.BytesIO(content), name)


def _checked(array: np.ndarray, name: str) -> np.ndarray:
    """Returns an array [H, W, 3] or [H, W] as [H, W, 3]."""
    if array.dtype != np.uint8 or array.size == 0 or (array.ndim != 2 and array.shape[2:] != (3,)):
        raise ImageError(
            f"{name} is {array.dtype} {list(array.shape)}, expected a uint8 array [H, W, 3] (RGB) or [H, W] (grey)"
        )
    return np.repeat(array[..., None], 3, axis=-1) if array.ndim == 2 else array


def _decoded(source: BinaryIO | Image.Image, name: str) -> np.ndarray:
    """Returns the upright pixels of an image or a file of one: uint8 [H, W, 3]."""
    with warnings.catch_warnings():
        # Pillow warns about odd metadata and palette transparency; neither changes the pixels.
        warnings.simplefilter("ignore")
        try:
            image = source if isinstance(source, Image.Image) else Image.open(source)
            image.load()
            return _to_8_bits(ImageOps.exif_transpose(image))
        except Image.DecompressionBombError as error:
            raise ImageError(f"{name} has too many pixels ({error}); make it smaller") from error
        except Image.UnidentifiedImageError as error:
            raise ImageError(f"{name} is not an image that Pillow knows; give another file") from error
        except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, ... on broken data
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ImageError(f"{name} is damaged ({reason}); give another one") from error


def _to_8_bits(image: Image.Image) -> np.ndarray:
    """Converts an upright image of any mode."""
    if image.mode[0] not in "IF":
        step = _ON_THE_WAY_TO_RGB.get(image.mode)
        return np.array((image.convert(step) if step else image).convert("RGB"))
    # Pillow's own conversion clips deeper grey at 255 instead of scaling it.
    grey = np.nan_to_num(np.asarray(image).astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = grey.min(), grey.max()
    if low < 0 or high > 65535:
        grey, white = grey - low, (high - low) or 1.0
    elif image.mode.startswith("I;16") or high > 255:
        white = 65535.0
    else:
        white = 1.0 if high <= 1 else 255.0
    grey = np.round(grey * (255.0 / white)).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)
