"""Warm-up requests of a SavedModel, which TensorFlow Serving runs before it lets clients in.

TensorFlow Serving reads them from `assets.extra/tf_serving_warmup_requests`, a TFRecord of `PredictionLog` messages.
Their classes are in the package tensorflow-serving-api; the few fields needed are written here without it, so that
every exported model has its requests.

Shapes: B batch, H W of the image.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

REQUESTS_FILE = "assets.extra/tf_serving_warmup_requests"
ENLARGED = 4  # how much smaller than the network's input the pictures are, which the graph enlarges


def write_warmup(folder, requests, model_name=""):
    """Writes warm-up requests into the folder of a SavedModel.

    Args:
        folder: of one version, with saved_model.pb; not yet where TensorFlow Serving looks.
        requests: pairs of a signature's name and a dict of its inputs, each an array or a list of bytes; see
            `usual_requests`.
        model_name: under which TensorFlow Serving has the model.

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


def usual_requests(min_size, max_size):
    """One request for each signature but detect_padded, which take the network through its usual input size.

    serving_compact gets two encoded images, a JPEG that lies and a PNG that stands; the others one that lies.

    Args:
        min_size, max_size: sides of the network's input in pixels, see `ModelConfig`.

    Returns:
        A list of pairs, as `write_warmup` takes them.
    """
    short = max(min_size // ENLARGED, 1)
    picture = warmup_picture(short, min(short * 4 // 3, max(max_size // ENLARGED, short)))
    encoded = [
        tf.io.encode_jpeg(picture, quality=90).numpy(),
        tf.io.encode_png(np.ascontiguousarray(picture.transpose(1, 0, 2))).numpy(),
    ]
    # TensorFlow Serving prepares a graph of its own for each signature when it is first asked, so each needs a request;
    # a graph takes encoded images one by one, so one is enough. serving_compact, which our client asks, gets both.
    return [
        ("serving_compact", {"images": encoded}),
        ("serving_default", {"images": encoded[:1]}),
        ("detect", {"images": picture[None]}),
    ]


def warmup_picture(height, width):
    """Coloured plates on a gradient, uint8 [H, W, 3]: edges for the network, little for a file."""
    rows, columns = np.mgrid[:height, :width]
    picture = np.stack([255 * rows / height, 255 * columns / width, np.full([height, width], 96.0)], axis=2)
    for number in range(1, 4):  # along the diagonal, each larger than the one before
        y, x, side = (length * number // 5 for length in (height, width, min(height, width)))
        picture[y : y + side // 2, x : x + side // 2] = [(80 * number) % 256, 255 - 60 * number, 40 * number]
    return picture.astype(np.uint8)


def prediction_log(signature, inputs, model_name=""):
    """A `tensorflow.serving.PredictionLog` of one request, serialized.

    Field numbers are those of prediction_log.proto, predict.proto and model.proto of TensorFlow Serving.

    Args:
        signature: name of a signature.
        inputs: dict of input name to array or list of bytes.
        model_name: as in `write_warmup`.
    """
    model_spec = _field(1, model_name.encode()) + _field(3, signature.encode())
    request = _field(1, model_spec)
    for name, value in sorted(inputs.items()):
        tensor = tf.make_tensor_proto(value).SerializeToString(deterministic=True)
        request += _field(2, _field(1, name.encode()) + _field(2, tensor))  # an entry of map<string, TensorProto>
    return _field(6, _field(1, request))  # PredictionLog.predict_log.request


def _field(number, content):
    """A string, bytes or message field in protobuf's wire format; one that is empty is left out, as protobuf does."""
    if not content:
        return b""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value):
    """Protobuf's number of as many bytes as it needs: seven bits each, low ones first, the eighth says that more come.

    Example:
        >>> _varint(300).hex()
        'ac02'
    """
    more = []
    while value >= 128:
        more.append(value % 128 + 128)
        value //= 128
    return bytes([*more, value])
