"""Reads image files whose pixels are numbers of objects or classes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.image_files import decoding

MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")  # without loss


def read_numbers(mask: Path | bytes, name: str = "mask", colours: bool = False) -> np.ndarray:
    """Reads an image of numbers.

    Args:
        mask: path of an image file without loss, or the bytes of one.
        name: name in error messages of a mask that has no path.
        colours: whether the colours of a palette image are meant, not its indices.

    Returns:
        Integer or bool [H, W]: the values of a grey or palette image, unchanged. A colour (r, g, b) becomes
        65536 r + 256 g + b as int64, and a transparent pixel 0.

    Raises:
        UserError: the file is missing or damaged, or its values are not whole numbers.
    """
    if not isinstance(mask, bytes):
        mask, name = _content(mask), f"mask file {mask}"
    with decoding(name), Image.open(io.BytesIO(mask)) as image:
        is_grey = image.mode in ("1", "L", "LA", "F") or image.mode[0] == "I" or (image.mode == "P" and not colours)
        values = np.asarray(image if is_grey else image.convert("RGBA"))
    if values.ndim == 2 and values.dtype.kind != "f":
        return values
    if values.ndim == 2:
        if not (np.abs(values) < 2**31).all() or (values != np.round(values)).any():
            raise UserError(f"{name} has values that are not whole numbers; save it with integers")
        return values.astype(np.int64)
    values = values.astype(np.int64)
    numbers = values[..., 0] if values.shape[-1] == 2 else packed(values[..., 0], values[..., 1], values[..., 2])
    return np.where(values[..., -1] > 0, numbers, 0)


def check_same_size(mask: np.ndarray, path: Path, size: tuple[int, int]) -> None:
    """Raises UserError unless a mask [H, W] has the size (height, width) of its picture."""
    if mask.shape != size:
        raise UserError(
            f"mask file {path} is {mask.shape[1]} x {mask.shape[0]} pixels, but its picture is {size[1]} x {size[0]}; "
            "replace the one that is wrong"
        )


def packed(red: Any, green: Any, blue: Any) -> Any:
    """Returns a colour as one number.

    Example:
        >>> packed(1, 0, 2)
        65538
    """
    return red << 16 | green << 8 | blue


def _content(path: Path) -> bytes:
    """Returns the bytes of a mask file."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"mask file {path} does not exist; check the path") from error
    except OSError as error:
        reason = f"mask file {path} cannot be read ({error.strerror})"
        raise UserError(f"{reason}; check the path and its permissions") from error
