"""Reading image files of every common kind as RGB.

Pillow does the decoding. What comes out is always uint8 [H, W, 3], RGB, upright: the EXIF orientation is applied,
grey is repeated over three channels, alpha is dropped, palettes are looked up, CMYK is converted, and 16-bit, 32-bit
and float grey is brought to 8 bits.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from keras_mrcnn.errors import UserError

_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N")


class ImageError(UserError):
    """An image file that is missing or cannot be decoded; the message is one sentence that names the file."""


def read_image(path: str | Path) -> np.ndarray:
    """Reads an image file as upright RGB.

    Args:
        path: file of any format that Pillow reads.

    Returns:
        uint8 [H, W, 3], RGB, after the EXIF orientation was applied.

    Raises:
        ImageError: the file is missing, not an image, or truncated; the message names it.

    Example:
        >>> import numpy as np, tempfile, os
        >>> from PIL import Image
        >>> path = os.path.join(tempfile.mkdtemp(), "grey.png")
        >>> Image.fromarray(np.full((2, 3), 7, np.uint8)).save(path)
        >>> read_image(path).shape
        (2, 3, 3)
    """
    path = Path(path)
    if not path.is_file():
        raise ImageError(f"image file {path} does not exist; check the path, or leave the file out")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"image file {path} cannot be read ({error.strerror}); check its permissions") from error
    return decode_image(content, name=f"image file {path}")


def decode_image(content: bytes, name: str = "image") -> np.ndarray:
    """Decodes the bytes of an image file as upright RGB.

    Args:
        content: the whole file.
        name: how error messages call it.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        ImageError: the bytes are not an image, or end too early.
    """
    with warnings.catch_warnings():
        # Pillow warns about odd metadata and palette transparency; neither changes the pixels that we return.
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(content)) as image:
                image.load()
                return _to_rgb(ImageOps.exif_transpose(image))
        except Image.DecompressionBombError as error:
            raise ImageError(f"{name} has too many pixels ({error}); make it smaller") from error
        except Image.UnidentifiedImageError as error:
            raise ImageError(f"{name} is not an image that Pillow knows; replace or remove it") from error
        except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, ... on broken data
            raise ImageError(f"{name} is damaged ({_one_line(error)}); replace or remove it") from error


def _to_rgb(image: Image.Image) -> np.ndarray:
    """Converts an upright Pillow image of any mode to uint8 [H, W, 3]."""
    if image.mode in _SIXTEEN_BIT_MODES:
        # Pillow's own conversion clips at 255 instead of scaling.
        return _grey_to_rgb(np.asarray(image).astype(np.float64) / 257.0)
    if image.mode in ("I", "F"):
        return _grey_to_rgb(_scale_to_8_bits(np.asarray(image).astype(np.float64)))
    if image.mode == "P":
        image = image.convert("RGBA")  # resolves palettes that carry alpha; the alpha is dropped below
    if image.mode in ("LA", "La", "PA"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    # RGBA and LA: convert() drops alpha. CMYK: Pillow has already inverted Adobe's inverted files when decoding.
    return np.array(image.convert("RGB"))


def _scale_to_8_bits(grey: np.ndarray) -> np.ndarray:
    """Brings grey values of unknown range to 0..255: 0..1 floats, 8-bit, 16-bit, or else by their extremes."""
    grey = np.nan_to_num(grey, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = (grey.min(), grey.max()) if grey.size else (0.0, 0.0)
    if low >= 0 and high <= 1:
        return grey * 255.0
    if low >= 0 and high <= 255:
        return grey
    if low >= 0 and high <= 65535:
        return grey / 257.0
    return (grey - low) * (255.0 / ((high - low) or 1.0))


def _grey_to_rgb(grey: np.ndarray) -> np.ndarray:
    """float [H, W] in 0..255 -> uint8 [H, W, 3]."""
    return np.repeat(np.round(grey).clip(0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
