"""Writes the warm-up requests of a SavedModel, which TensorFlow Serving runs before it accepts clients.

TensorFlow Serving reads them from `assets.extra/tf_serving_warmup_requests`, a TFRecord of `PredictionLog` messages.
Their classes are in the package tensorflow-serving-api. This module writes the few fields without it, so that every
exported model has its requests.

Shapes: B batch, H W of the image.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Union

import numpy as np
import tensorflow as tf

REQUESTS_FILE = "assets.extra/tf_serving_warmup_requests"
ENLARGED = 4  # the pictures are this many times smaller than the network's input; the graph enlarges them
Inputs = Mapping[str, Union[np.ndarray, Sequence[bytes]]]  # of a signature, by name


def write_warmup(folder: str | os.PathLike, requests: Iterable[tuple[str, Inputs]], model_name: str = "") -> Path:
    """Writes warm-up requests into the folder of a SavedModel.

    Args:
        folder: folder of one version, with saved_model.pb; TensorFlow Serving must not see it yet.
        requests: pairs of the name of a signature and a dict of its inputs, each an array or a list of bytes; see
            `usual_requests`.
        model_name: name of the model on the server.

    Returns:
        The `Path` of the file.

    Example:
        >>> write_warmup("saved_models/scenes/.1.tmp", usual_requests(800, 1333), "scenes")  # doctest: +SKIP

    Reference: TensorFlow Serving, "SavedModel Warmup".
    """
    path = Path(folder) / REQUESTS_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests:
            writer.write(prediction_log(signature, inputs, model_name))
    return path


def usual_requests(min_size: int, max_size: int, channels: int = 3) -> list[tuple[str, Inputs]]:
    """Makes one request for each signature except detect_padded, at the usual input size of the network.

    serving_compact gets two encoded images, a landscape JPEG (PNG where there are four channels) and a portrait PNG;
    the others get one in landscape.

    Args:
        min_size, max_size: sides of the network's input in pixels, see `ModelConfig`.
        channels: of the pictures, see `ModelConfig`.

    Returns:
        A list of pairs, as `write_warmup` takes them.
    """
    short = max(min_size // ENLARGED, 1)
    picture = warmup_picture(short, min(short * 4 // 3, max(max_size // ENLARGED, short)))
    picture = np.ascontiguousarray(picture[..., [0, 1, 2, 0][:channels]])  # a fourth channel repeats the first
    encoded = [
        (tf.io.encode_png(picture) if channels == 4 else tf.io.encode_jpeg(picture, quality=90)).numpy(),
        tf.io.encode_png(np.ascontiguousarray(picture.transpose(1, 0, 2))).numpy(),
    ]
    # TensorFlow Serving prepares the graph of each signature when it is first called, so each needs a request. A graph
    # takes encoded images one by one, so one is enough. serving_compact, which our client calls, gets both.
    return [
        ("serving_compact", {"images": encoded}),
        ("serving_default", {"images": encoded[:1]}),
        ("detect", {"images": picture[None]}),
    ]


def warmup_picture(height: int, width: int) -> np.ndarray:
    """Draws coloured squares on a gradient, uint8 [H, W, 3]: edges for the network, in a small file."""
    rows, columns = np.mgrid[:height, :width]
    picture = np.stack([255 * rows / height, 255 * columns / width, np.full([height, width], 96.0)], axis=2)
    for number in range(1, 4):  # along the diagonal, each larger than the one before
        y, x, side = (length * number // 5 for length in (height, width, min(height, width)))
        picture[y : y + side // 2, x : x + side // 2] = [(80 * number) % 256, 255 - 60 * number, 40 * number]
    return picture.astype(np.uint8)


def prediction_log(signature: str, inputs: Inputs, model_name: str = "") -> bytes:
    """Serializes a `tensorflow.serving.PredictionLog` of one request.

    Field numbers are those of prediction_log.proto, predict.proto and model.proto of TensorFlow Serving.

    Args:
        signature: name of a signature.
        inputs: arrays or lists of bytes, by the name of the input.
        model_name: as in `write_warmup`.
    """
    model_spec = _field(1, model_name.encode()) + _field(3, signature.encode())
    request = _field(1, model_spec)
    for name, value in sorted(inputs.items()):
        tensor = tf.make_tensor_proto(value).SerializeToString(deterministic=True)
        request += _field(2, _field(1, name.encode()) + _field(2, tensor))  # an entry of map<string, TensorProto>
    return _field(6, _field(1, request))  # PredictionLog.predict_log.request


def _field(number, content):
    """Encodes a string, bytes or message field in protobuf's wire format; protobuf leaves an empty one out."""
    if not content:
        return b""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value):
    """Encodes a number for protobuf: seven bits in each byte, low ones first; the eighth bit says that more follow.

    Example:
        >>> _varint(300).hex()
        'ac02'
    """
    more = []
    while value >= 128:
        more.append(value % 128 + 128)
        value //= 128
    return bytes([*more, value])
