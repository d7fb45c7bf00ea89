import io

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from keras_mrcnn.export.warmup import (
    REQUESTS_FILE,
    _varint,
    prediction_log,
    usual_requests,
    warmup_picture,
    write_warmup,
)
from keras_mrcnn.ops.images import resized_size


def records(path):
    return [record.numpy() for record in tf.data.TFRecordDataset(str(path))]


def test_wire_format_by_hand():
    tensor = tf.make_tensor_proto([b"x"]).SerializeToString()
    entry = b"\x0a\x01i" + b"\x12" + bytes([len(tensor)]) + tensor
    request = b"\x0a\x06" + b"\x0a\x01m" + b"\x1a\x01s" + b"\x12" + bytes([len(entry)]) + entry
    expected = b"\x32" + bytes([len(request) + 2]) + b"\x0a" + bytes([len(request)]) + request
    assert prediction_log("s", {"i": [b"x"]}, "m") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, b"\x00"), (1, b"\x01"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02"), (2**21, b"\x80\x80\x80\x01")],
)
def test_varint(value, expected):
    assert _varint(value) == expected


@given(st.integers(0, 2**62))
def test_varint_can_be_read_again(value):
    encoded = _varint(value)
    assert sum((byte & 127) << (7 * place) for place, byte in enumerate(encoded)) == value
    assert all(byte & 128 for byte in encoded[:-1]) and not encoded[-1] & 128


def test_the_real_messages_read_it(tmp_path):
    prediction_log_pb2 = pytest.importorskip(
        "tensorflow_serving.apis.prediction_log_pb2", reason="tensorflow-serving-api is not installed"
    )
    requests = usual_requests(128, 224)
    path = write_warmup(tmp_path, requests, "scenes")
    assert path == tmp_path / REQUESTS_FILE
    written = records(path)
    assert len(written) == 3
    for record, (signature, inputs) in zip(written, requests):
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log" and not log.HasField("log_metadata")
        request = log.predict_log.request
        assert (request.model_spec.name, request.model_spec.signature_name) == ("scenes", signature)
        assert list(request.inputs) == ["images"]
        np.testing.assert_array_equal(tf.make_ndarray(request.inputs["images"]), np.array(inputs["images"]))
        # Nothing but known fields, and a name that is not given leaves none: the same bytes again.
        log.predict_log.request.model_spec.name = ""
        assert prediction_log_pb2.PredictionLog.FromString(prediction_log(signature, inputs)) == log


@pytest.mark.parametrize("sizes", [(800, 1333), (128, 224), (1, 1), (100, 100), (3, 1000)])
def test_the_network_gets_its_usual_size(sizes):
    requests = dict(usual_requests(*sizes))
    picture = requests["detect"]["images"]
    assert picture.dtype == np.uint8 and picture.ndim == 4 and picture.shape[0] == 1 and picture.shape[3] == 3
    height, width = picture.shape[1:3]
    assert height <= width
    network = resized_size(height, width, *sizes).numpy()
    assert abs(network[0] - sizes[0]) <= 1 and network[1] <= sizes[1]
    landscape, portrait = (Image.open(io.BytesIO(data)) for data in requests["serving_compact"]["images"])
    assert (landscape.format, landscape.size) == ("JPEG", (width, height))
    assert (portrait.format, portrait.size) == ("PNG", (height, width))
    np.testing.assert_array_equal(np.asarray(portrait).transpose(1, 0, 2), picture[0])
    assert requests["serving_default"]["images"] == requests["serving_compact"]["images"][:1]


def test_the_picture_by_hand():
    picture = warmup_picture(60, 80)
    assert picture.shape == (60, 80, 3)
    assert picture[0, 0].tolist() == [0, 0, 96] and picture[59, 0].tolist() == [250, 0, 96]
    assert picture[12, 16].tolist() == [80, 195, 40]
    assert picture[37, 49].tolist() == [240, 75, 120]
    assert picture[53, 65].tolist() == [240, 75, 120] and picture[54, 48, 2] == 96


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_requests_have_the_channels_of_the_model(channels):
    requests = dict(usual_requests(64, 128, channels))
    assert requests["detect"]["images"].shape[-1] == channels
    formats = [Image.open(io.BytesIO(data)).format for data in requests["serving_compact"]["images"]]
    assert formats == ["PNG" if channels == 4 else "JPEG", "PNG"]


def test_small_on_disk(tmp_path):
    path = write_warmup(tmp_path, usual_requests(800, 1333))
    assert path.stat().st_size < 250_000


def test_the_exported_model_answers_its_requests(exported):
    signatures = tf.saved_model.load(str(exported.saved_model_path)).signatures
    config = exported.detector.model.config
    for name, inputs in usual_requests(config.min_size, config.max_size):
        images = tf.constant(inputs["images"])
        found = signatures[name](images=images)
        assert found["valid"].shape == [len(images)]
