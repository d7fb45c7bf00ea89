"""TensorFlow Serving's gRPC interface: PredictionService and ModelService of the package tensorflow-serving-api.

That package imports TensorFlow, so it is imported only when a client with protocol "grpc" is made.
"""

from __future__ import annotations

import io
import math
import re
import types
from collections.abc import Sequence

import numpy as np

from keras_mrcnn.serving.served_model import (
    INPUT,
    MASKS_PNG,
    OUTPUT_DTYPES,
    SIGNATURE,
    ModelSpec,
    ServingError,
    state_text,
)

DEFAULT_PORT = 8500
# Numbers of TensorFlow's DataType enum.
_DT_STRING = 7
_DT_NUMBERS = {np.dtype(np.float32): 1, np.dtype(np.int32): 3}
# By default gRPC refuses answers of more than 4 MB.
_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class GrpcModel:
    """A served model that is called by gRPC, without encryption. Several threads may share it.

    Args:
        spec: the model; its address is host[:port] (port 8500 by default) or unix:path.

    Raises:
        ServingError: grpcio, tensorflow-serving-api or TensorFlow is not installed.
        ValueError: the address is an http URL.
    """

    def __init__(self, spec: ModelSpec):
        if "://" in spec.address:
            raise ValueError(f"address {spec.address!r} is a URL, but gRPC takes host:port; port 8500 is usual")
        self.spec, self._api = spec, _packages()
        has_port = spec.address.startswith("unix:") or re.search(r":\d+$", spec.address)
        address = spec.address if has_port else f"{spec.address}:{DEFAULT_PORT}"
        self._channel = self._api.grpc.insecure_channel(address, options=_OPTIONS)
        self._predict = self._api.prediction_service.PredictionServiceStub(self._channel).Predict
        self._get_status = self._api.model_service.ModelServiceStub(self._channel).GetModelStatus

    def predict(self, encoded: Sequence[bytes]) -> list[dict[str, np.ndarray]]:
        """Runs the model on encoded images; see `RestModel.predict`."""
        request = self._api.predict.PredictRequest()
        self._fill(request.model_spec)
        request.model_spec.signature_name = SIGNATURE
        request.inputs[INPUT].dtype = _DT_STRING
        request.inputs[INPUT].tensor_shape.dim.add(size=len(encoded))
        request.inputs[INPUT].string_val.extend(encoded)
        response = self._call(self._predict, request).outputs
        self.spec.check_names(list(response))
        outputs = {name: self._array(name, response[name], dtype) for name, dtype in OUTPUT_DTYPES.items()}
        return self.spec.rows(outputs, self._strings(MASKS_PNG, response[MASKS_PNG]), len(encoded))

    def states(self) -> dict[int, str]:
        """Returns the state of each version that the server knows, such as {1: "AVAILABLE"}."""
        request = self._api.status.GetModelStatusRequest()
        self._fill(request.model_spec)
        versions = self._call(self._get_status, request).model_version_status
        state = self._api.status.ModelVersionStatus.State
        return {
            version.version: state_text(state.Name(version.state), version.status.error_message) for version in versions
        }

    def close(self) -> None:
        """Closes the channel; requests that are still running end with an error."""
        self._channel.close()

    def _fill(self, model_spec):
        model_spec.name = self.spec.name
        if self.spec.version is not None:
            model_spec.version.value = self.spec.version

    def _call(self, method, request):
        try:
            return method(request, timeout=self.spec.timeout)
        except self._api.grpc.RpcError as error:
            raise self._explained(error.code().name, error.details() or "") from error

    def _explained(self, code, details):
        message = f"{code}, {details}"
        # A server whose batching queue is full also answers UNAVAILABLE, but it can be reached.
        if code == "UNAVAILABLE" and "queue" not in details:
            return self.spec.unreachable(message)
        if code == "DEADLINE_EXCEEDED":
            return self.spec.too_slow()
        return self.spec.unknown(message) if code == "NOT_FOUND" else self.spec.refused(message)

    def _array(self, name, tensor, dtype):
        """Converts a TensorProto to an array; servers write its values as bytes or, by default, as list of numbers."""
        shape = [dim.size for dim in tensor.tensor_shape.dim]
        if tensor.tensor_content:
            values = np.frombuffer(tensor.tensor_content, dtype.newbyteorder("<"))
        else:
            values = np.array(tensor.float_val or tensor.int_val)
        if tensor.dtype != _DT_NUMBERS[dtype] or values.size != math.prod(shape):
            raise self.spec.strange(f"has an output {name} that is not {dtype} with all of its values")
        return values.astype(dtype).reshape(shape)

    def _strings(self, name, tensor):
        """Converts a TensorProto to a list of strings; servers write them as bytes or, by default, one by one."""
        sizes = [dim.size for dim in tensor.tensor_shape.dim]
        try:
            if tensor.dtype != _DT_STRING or len(sizes) != 1:
                raise ValueError("another shape or dtype")
            return _unpacked(tensor.tensor_content, sizes[0]) if tensor.tensor_content else list(tensor.string_val)
        except ValueError as error:
            raise self.spec.strange(f"has an output {name} that is not one string for each image") from error


def _unpacked(content, count):
    """Reads the strings of a `tensor_content`: first their lengths as varints, then their bytes."""
    stream = io.BytesIO(content)
    lengths = [_varint(stream) for _ in range(count)]
    if stream.tell() + sum(lengths) != len(content):
        raise ValueError("the lengths are not those of the strings")
    return [stream.read(length) for length in lengths]


def _varint(stream):
    """Reads a number of variable length: seven bits a byte, low ones first; the eighth bit says that more follow."""
    value = 0
    for shift in range(0, 64, 7):
        byte = stream.read(1)
        if not byte:
            break
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ValueError("a length without an end")


def _packages():
    """Imports the modules that gRPC needs."""
    try:
        import grpc
        from tensorflow_serving.apis import (
            get_model_status_pb2,
            model_service_pb2_grpc,
            predict_pb2,
            prediction_service_pb2_grpc,
        )
    except ImportError as error:
        raise ServingError(
            "protocol 'grpc' needs the packages grpcio and tensorflow-serving-api, and TensorFlow, but "
            f"{error.name or error} is missing: run pip install \"keras_mrcnn[serving]\", or take protocol 'rest'"
        ) from error
    return types.SimpleNamespace(
        grpc=grpc,
        status=get_model_status_pb2,
        predict=predict_pb2,
        model_service=model_service_pb2_grpc,
        prediction_service=prediction_service_pb2_grpc,
    )
