"""What is gRPC's own: the messages and their size, the packages. Both protocols share test_tf_serving_client.py."""

import sys

import numpy as np
import pytest
import tensorflow as tf
from export.models import noise_image
from serving.clients import client_of, compact, error_of, png, quick, some_outputs
from serving.fake_servers import FakeModel, predict_response

from keras_mrcnn.serving import grpc_channel
from keras_mrcnn.serving.served_model import OUTPUT_DTYPES, ServingError
from keras_mrcnn.serving.tf_serving_client import TFServingClient


def test_grpc_request_is_what_tensorflow_would_make():
    images = [png(noise_image(1, 1)), png(noise_image(1, 2))]
    with client_of("grpc", quick(), version=1) as client:
        client.batch(images)
        (request,) = client.serving.requests
    assert request.model_spec.name == "small" and request.model_spec.version.value == 1
    assert request.model_spec.signature_name == "serving_compact"
    assert dict(request.inputs) == {"images": tf.make_tensor_proto(images)}


def test_data_types_have_tensorflows_numbers():
    numbers = {dtype: tf.as_dtype(dtype).as_datatype_enum for dtype in OUTPUT_DTYPES.values()}
    assert numbers == grpc_channel._DT_NUMBERS
    assert tf.string.as_datatype_enum == grpc_channel._DT_STRING


def test_grpc_checks_the_data_types():
    def whole_scores(images):
        return {**some_outputs(images), "scores": np.zeros([len(images), 3], np.int32)}

    assert "has an output scores that is not float32" in error_of("grpc", quick(whole_scores))


@pytest.mark.parametrize("as_tensor_content", [True, False])
@pytest.mark.parametrize("files", [np.zeros([1], np.int32), np.array([[b"a", b"b"]], object)], ids=["number", "two"])
def test_grpc_checks_the_strings(files, as_tensor_content):
    def run(images):
        return {**compact(some_outputs(images)), "masks_png_bytes": files}

    error = error_of("grpc", {"small": FakeModel({"serving_compact": run}, {})}, as_tensor_content=as_tensor_content)
    assert "has an output masks_png_bytes that is not one string for each image" in error


@pytest.mark.parametrize("lengths", [[0], [127, 128], [3, 0, 20_000]])
def test_strings_as_bytes_are_those_of_tensorflow(lengths):
    strings = [bytes([65 + place]) * length for place, length in enumerate(lengths)]
    tensor = predict_response({"s": np.array(strings, object)}, as_tensor_content=True).outputs["s"]
    assert tf.io.parse_tensor(tensor.SerializeToString(), tf.string).numpy().tolist() == strings
    assert grpc_channel._unpacked(tensor.tensor_content, len(lengths)) == strings
    for damaged in (tensor.tensor_content[:-1], tensor.tensor_content + b"x", b"", b"\xff" * 200):
        with pytest.raises(ValueError, match="length"):
            grpc_channel._unpacked(damaged, len(lengths))
    with pytest.raises(ValueError, match="length"):
        grpc_channel._unpacked(tensor.tensor_content, 2**40)


def test_grpc_takes_answers_of_more_than_four_megabytes():
    with client_of("grpc", quick(lambda images: some_outputs(images, 100))) as client:
        found = client.batch([png(noise_image(2, 2))] * 64, images_per_request=64)
        assert len(client.serving.requests) == 1
    assert [len(record) for record in found] == [100] * 64


@pytest.mark.parametrize("missing", ["grpc", "tensorflow_serving"])
def test_missing_packages_are_named_and_rest_works_without_them(monkeypatch, missing):
    for name in list(sys.modules):
        if name.split(".")[0] == "tensorflow_serving":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ServingError, match=rf'{missing}\S* is missing: run pip install "keras_mrcnn\[serving\]"'):
        TFServingClient("localhost", "small", protocol="grpc")
    TFServingClient("localhost", "small").close()
