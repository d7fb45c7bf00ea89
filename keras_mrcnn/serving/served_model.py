"""The common part of REST and gRPC: the name of the model, the outputs that it must have, and the errors.

Shapes: B images of a request, D rows of the outputs, detections or padding; M mask side.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from keras_mrcnn.base.errors import UserError

# The signature of `export_saved_model` that takes encoded images and gives masks as PNG, and its other outputs.
SIGNATURE, INPUT, MASKS_PNG = "serving_compact", "images", "masks_png_bytes"
OUTPUT_DTYPES = {
    "boxes": np.dtype(np.float32),
    "scores": np.dtype(np.float32),
    "category_ids": np.dtype(np.int32),
    "valid": np.dtype(np.int32),
}
_LONGEST_MESSAGE = 400


class ServingError(UserError):
    """A request failed; the message is one sentence that says why and what to do."""


class ModelSpec(NamedTuple):
    """A model on a server: its address and name, the version (None: the newest) and the timeout in seconds."""

    address: str
    name: str
    version: int | None
    timeout: float

    @property
    def title(self) -> str:
        """Returns the name and version for messages."""
        return f"model {self.name!r}" + (f" version {self.version}" if self.version is not None else "")

    def unreachable(self, reason: object) -> ServingError:
        """Makes the error for a server that does not answer."""
        return ServingError(
            f"TensorFlow Serving does not answer at {self.address} ({one_line(reason)}); start it, or correct the "
            "address and protocol: REST is usually on port 8501, gRPC on 8500"
        )

    def too_slow(self) -> ServingError:
        """Makes the error for a server that does not answer in time."""
        return ServingError(
            f"TensorFlow Serving at {self.address} did not answer within {self.timeout:g} s; send fewer or smaller "
            "images at a time, or give the client a longer timeout"
        )

    def unknown(self, message: object) -> ServingError:
        """Makes the error for a server that does not have the model."""
        return ServingError(
            f"TensorFlow Serving at {self.address} has no {self.title} ({one_line(message)}); the name is that of the "
            "folder in saved_models/, and while the server starts a model is missing, too"
        )

    def refused(self, message: object) -> ServingError:
        """Makes the error for a server that refuses to run the model."""
        advice = "; export the model again with this version" if f'"{SIGNATURE}" not found' in str(message) else ""
        return ServingError(
            f"TensorFlow Serving at {self.address} refuses to run {self.title}: {one_line(message)}{advice}"
        )

    def strange(self, reason: str) -> ServingError:
        """Makes the error for an answer that no model of ours gives."""
        return ServingError(
            f"the answer of {self.title} at {self.address} {reason}; serve a folder that `keras-mrcnn export` wrote"
        )

    def rows(
        self, outputs: Mapping[str, np.ndarray], files: Sequence[bytes], count: int
    ) -> list[dict[str, np.ndarray]]:
        """Splits an answer into one dict for each of the `count` images of the request.

        Args:
            outputs: arrays [B, ...] by the names in `OUTPUT_DTYPES`.
            files: the masks of each image as PNG.
            count: number of images, B.

        Returns:
            dicts of the outputs without the batch dimension, and masks uint8 [D, M, M].

        Raises:
            ServingError: the number of rows is not that of the images, or the masks cannot be read.
        """
        shapes = {**{name: value.shape for name, value in outputs.items()}, MASKS_PNG: (len(files),)}
        if any(shape[:1] != (count,) for shape in shapes.values()) or len(shapes["boxes"]) != 3:
            text = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
            raise self.strange(f"has outputs of the shapes {text} for {count} images")
        masks = [self._masks(content, shapes["boxes"][1]) for content in files]
        return [{**{name: value[row] for name, value in outputs.items()}, "masks": masks[row]} for row in range(count)]

    def _masks(self, content, count):
        """Reads masks uint8 [D, M, M] from a grey PNG of D = `count` masks, one below the other."""
        try:
            with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
                image.verify()  # compares the checksums, which reading the pixels does not
            with Image.open(io.BytesIO(content)) as image:
                mode, pixels = image.mode, np.array(image)
        except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, ... on broken files
            raise self.strange(f"has {MASKS_PNG} that hold no PNG file, or a damaged one") from error
        height, side = pixels.shape[:2]
        if mode != "L" or height != count * side:
            raise self.strange(
                f"has {MASKS_PNG} with a PNG of mode {mode} and {height} x {side} pixels, which are not {count} masks"
            )
        return pixels.reshape(count, side, side)

    def check_names(self, names: Sequence[str]) -> None:
        """Checks that an answer has all outputs of our models. Raises `ServingError` if one is missing."""
        missing = [name for name in (*OUTPUT_DTYPES, MASKS_PNG) if name not in names]
        if missing:
            raise self.strange(f"has the outputs {', '.join(sorted(names)) or 'none'}, but not {', '.join(missing)}")


def one_line(message: object) -> str:
    """Makes the message of a server or a library fit into a sentence: one line, not too long."""
    text = " ".join(str(message).split()).rstrip(".") or "no reason given"
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + "..."


def state_text(state: str, message: str) -> str:
    """Returns a version's state, such as AVAILABLE or LOADING, with the error that loading it ended with."""
    return f"{state}: {one_line(message)}" if message else state
