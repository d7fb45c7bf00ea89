"""TensorFlow Serving without its binary: servers in a thread, with the documented JSON and the real protobufs.

What they answer is written after TensorFlow Serving's documentation and source: g3doc/api_rest.md (rows, b64, names of
binary outputs, errors), util/json_tensor.cc (how values are written), model_servers/http_rest_api_handler.cc (paths),
get_model_status_impl.cc (states), core/basic_manager.cc (the message about an unknown model), and predict_util.cc
(tensors as lists of values, or as bytes with --enable_serialization_as_tensor_content).
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import os
import re
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.internal.encoder import _VarintBytes
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

os.environ.update(no_grpc_proxy="127.0.0.1")  # where there is a proxy, gRPC would ask it for this address too
PATH = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+))?(:predict)?")
STATUS_CODES = {"INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "UNAVAILABLE": 503, "INTERNAL": 500}


class Refusal(Exception):
    """An error as the server gives it: the name of a gRPC status code, and a message."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code, self.message = code, message


class FakeModel:
    """A model on the server: a function of encoded images [B] for each signature, and the state of each version."""

    def __init__(self, signatures, states, message=""):
        self.signatures, self.states, self.message = signatures, states, message

    @classmethod
    def of_folder(cls, path):
        """Runs the signatures of encoded images of a SavedModel, loaded by TensorFlow."""
        loaded = tf.saved_model.load(str(path))

        def run(signature, images):
            found = loaded.signatures[signature](images=tf.constant(images))
            return {name: value.numpy() for name, value in found.items()}

        signatures = {name: functools.partial(run, name) for name in ("serving_default", "serving_compact")}
        return cls(signatures, {int(path.name): "AVAILABLE"})

    def run(self, signature, images):
        signature = signature or "serving_default"
        if signature not in self.signatures:
            raise Refusal("INVALID_ARGUMENT", f'Serving signature name: "{signature}" not found in signature def')
        try:
            return self.signatures[signature](images)
        except tf.errors.OpError as error:
            raise Refusal("INVALID_ARGUMENT", error.message) from error


class FakeServing:
    """What both servers know: models by name, and the requests that came."""

    def __init__(self, models, as_tensor_content=True):
        self.models, self.as_tensor_content, self.requests, self.connections = models, as_tensor_content, [], 0

    def model(self, name, version):
        """The model of a request; version None or 0 is the newest."""
        model = self.models.get(name)
        if model is None or (version and version not in model.states):
            raise Refusal("NOT_FOUND", f"Servable not found for request: {_wanted(name, version)}")
        return model

    def states(self, name, version):
        states = self.models[name].states if name in self.models else {}
        if not states or (version and version not in states):
            text = f"version {version}" if version else "any versions"
            raise Refusal("NOT_FOUND", f"Could not find {text} of model {name}")
        return {number: state for number, state in states.items() if number == (version or number)}


def _wanted(name, version):
    return f"Specific({name}, {version})" if version else f"Latest({name})"


@contextlib.contextmanager
def rest_server(serving):
    """Serves until the end of the `with` block; gives "host:port"."""

    handler = type("Handler", (_RestHandler,), {"serving": serving})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _RestHandler(BaseHTTPRequestHandler):
    serving: FakeServing
    protocol_version = "HTTP/1.1"  # connections are kept

    def setup(self):
        super().setup()
        self.serving.connections += 1

    def do_GET(self):
        name, version, verb = self._parts()
        self._answer(lambda: self._states(name, version) if not verb else self._malformed())

    def do_POST(self):
        name, version, verb = self._parts()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(lambda: self._predict(name, version, json.loads(body)) if verb else self._malformed())

    def log_message(self, *arguments):
        pass

    def _parts(self):
        match = PATH.fullmatch(self.path)
        name, version, verb = match.groups() if match else ("", None, "")
        return name, int(version or 0), verb

    def _malformed(self):
        raise Refusal("INVALID_ARGUMENT", f"Malformed request: {self.command} {self.path}")

    def _states(self, name, version):
        status = {"error_code": "OK", "error_message": self.serving.models.get(name, FakeModel({}, {})).message}
        states = self.serving.states(name, version)
        # Protobuf's JSON writes int64 as strings.
        versions = [{"version": str(number), "state": state, "status": status} for number, state in states.items()]
        return {"model_version_status": versions}

    def _predict(self, name, version, request):
        self.serving.requests.append(request)
        model = self.serving.model(name, version)
        return json_answer(model.run(request.get("signature_name"), _json_images(request["instances"])))

    def _answer(self, make):
        try:
            status, answer = 200, make()
        except Refusal as refusal:
            status, answer = STATUS_CODES[refusal.code], {"error": refusal.message}
        content = json.dumps(answer).encode()
        # A client that had enough of waiting is gone.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)


def _json_images(rows):
    for number, row in enumerate(rows):
        if set(row) != {"images"}:
            message = f"Failed to process element: {number} of 'instances' list. keys must be equal to: images"
            raise Refusal("INVALID_ARGUMENT", message)
    return np.array([base64.b64decode(row["images"]["b64"], validate=True) for row in rows], object)


def json_answer(outputs):
    """The answer to a request in rows."""
    values = {name: _json_values(name, value) for name, value in outputs.items()}
    rows = [dict(zip(values, row)) for row in zip(*values.values())]
    # A single output comes without its name.
    return {"predictions": rows if len(values) > 1 else [value for row in rows for value in row.values()]}


def _json_values(name, array):
    """Nested lists; strings are binary where the name says so."""
    if array.dtype == object:
        write = _json_binary if name.endswith("_bytes") else bytes.decode
    elif array.dtype.kind == "f":
        write = _json_float
    else:
        return array.tolist()
    written = np.empty(array.size, object)
    written[:] = [write(value) for value in array.ravel()]
    return written.reshape(array.shape).tolist()


def _json_float(value):
    """Six digits, or nine where that is another float32."""
    short = f"{value:.6g}"
    return float(short if np.float32(short) == value else f"{value:.9g}")


def _json_binary(content):
    return {"b64": base64.b64encode(content).decode()}


@contextlib.contextmanager
def grpc_server(serving):
    """Serves until the end of the `with` block; gives "host:port"."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(4), options=options)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Prediction(serving), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Model(serving), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(grace=None).wait()


class _Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, serving):
        self.serving = serving

    def Predict(self, request, context):
        self.serving.requests.append(request)
        spec = request.model_spec
        with _refusals(context):
            model = self.serving.model(spec.name, spec.version.value)
            outputs = model.run(spec.signature_name, tf.make_ndarray(request.inputs["images"]))
        return predict_response(outputs, self.serving.as_tensor_content)


class _Model(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, serving):
        self.serving = serving

    def GetModelStatus(self, request, context):
        spec, response = request.model_spec, get_model_status_pb2.GetModelStatusResponse()
        with _refusals(context):
            for number, state in self.serving.states(spec.name, spec.version.value).items():
                version = response.model_version_status.add(version=number, state=state)
                version.status.error_message = self.serving.models[spec.name].message
        return response


@contextlib.contextmanager
def _refusals(context):
    try:
        yield
    except Refusal as refusal:
        context.abort(grpc.StatusCode[refusal.code], refusal.message)


def predict_response(outputs, as_tensor_content):
    """A PredictResponse with the arrays as bytes or, as servers send them by default, as lists of values."""
    response = predict_pb2.PredictResponse()
    for name, value in outputs.items():
        tensor = response.outputs[name]
        tensor.dtype = tf.as_dtype(value.dtype).as_datatype_enum
        for side in value.shape:
            tensor.tensor_shape.dim.add(size=side)
        if as_tensor_content:
            tensor.tensor_content = _string_content(value) if value.dtype == object else value.tobytes()
        elif value.dtype == object:
            tensor.string_val.extend(value.ravel())
        else:
            (tensor.float_val if value.dtype.kind == "f" else tensor.int_val).extend(value.ravel().tolist())
    return response


def _string_content(strings):
    """TensorFlow's bytes of a tensor of strings: the length of each as a varint, and then all of them."""
    lengths = b"".join(_VarintBytes(len(string)) for string in strings.ravel())
    return lengths + b"".join(strings.ravel())
