"""What is REST's own: the JSON, kept connections, URLs. Both protocols share test_tf_serving_client.py."""

import json
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
import urllib3
from child_programs import child_environment
from export.models import noise_image
from serving.clients import client_of, compact, png, quick, some_outputs
from serving.fake_servers import json_answer

from keras_mrcnn.serving.rest import RestModel
from keras_mrcnn.serving.served_model import ModelSpec, ServingError
from keras_mrcnn.serving.tf_serving_client import TFServingClient


def test_rest_request_is_as_documented():
    with client_of("rest", quick()) as client:
        client.batch([png(noise_image(1, 1)), png(noise_image(1, 2))])
        (request,) = client.serving.requests
    assert sorted(request) == ["instances", "signature_name"] and request["signature_name"] == "serving_compact"
    assert [list(row) for row in request["instances"]] == [["images"], ["images"]]
    assert [list(row["images"]) for row in request["instances"]] == [["b64"], ["b64"]]


def test_the_answer_is_as_documented():
    answer = json_answer(compact(some_outputs([b"", b""])))
    assert sorted(answer["predictions"][1]) == ["boxes", "category_ids", "masks_png_bytes", "scores", "valid"]
    assert list(answer["predictions"][1]["masks_png_bytes"]) == ["b64"]
    assert json_answer({"name": np.array([b"a"], object)}) == {"predictions": ["a"]}


def test_rest_keeps_its_connection_and_opens_another_where_it_was_closed():
    with client_of("rest", quick(), timeout=20) as client:
        for _ in range(3):
            client(noise_image(5, 5))
        assert client.serving.connections == 1
        closed_by_server(client._model._pool)
        assert len(client(noise_image(5, 5))) == 2
        assert client.serving.connections == 2


def closed_by_server(pool):
    """Shuts the kept connection, as a server does after some idle time."""
    connection = pool._get_conn()
    connection.sock.shutdown(socket.SHUT_RDWR)
    pool._put_conn(connection)


def test_rest_opens_another_connection_where_it_is_closed_at_that_moment(monkeypatch):
    with client_of("rest", quick(), timeout=20) as client:
        client(noise_image(5, 5))
        closed_by_server(client._model._pool)
        # urllib3 does not notice until it sends.
        monkeypatch.setattr(urllib3.connectionpool, "is_connection_dropped", lambda connection: False)
        assert len(client(noise_image(5, 5))) == 2 and client.serving.connections == 2


def row(boxes=([0.0] * 4,), masks=None):
    """An answer for one image with one row of padding, in JSON."""
    others = {"scores": [0.0], "category_ids": [0], "valid": 0}
    return json.dumps({"predictions": [{"boxes": boxes, "masks_png_bytes": masks or {"b64": ""}, **others}]}).encode()


def test_threads_share_a_client():
    with client_of("rest", quick()) as client:
        found = []
        threads = [threading.Thread(target=lambda: found.append(client(noise_image(5, 5)))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [len(record) for record in found] == [2] * 4


def test_addresses():
    def rest(address):
        with TFServingClient(address, "my model") as client:
            pool = client._model._pool
            return pool.scheme, pool.host, pool.port, client._model._path

    path = "/v1/models/my%20model"
    assert rest("server") == ("http", "server", 8501, path)
    assert rest("server:80") == ("http", "server", 80, path)
    assert rest("[::1]:9000") == ("http", "::1", 9000, path)
    assert rest("http://server") == ("http", "server", 80, path)
    assert rest("https://server/detect/") == ("https", "server", 443, f"/detect{path}")
    for address in ("", "ftp://server", "server:http", "http://server?key=1"):
        with pytest.raises(ValueError, match="is neither host:port nor an http:// or https:// URL"):
            TFServingClient(address, "small")
    with pytest.raises(ValueError, match="is a URL, but gRPC takes host:port"):
        TFServingClient("http://server:8500", "small", protocol="grpc")


@pytest.mark.parametrize(
    ("status", "content", "message"),
    [
        (400, b'{ "error": "bad \\\'image\\\'" }', r"refuses to run model 'small': HTTP 400, \{ \"error\": \"bad"),
        (502, b"<html>Bad gateway</html>", "refuses to run model 'small': HTTP 502, <html>Bad gateway"),
        (200, b"<html>Welcome</html>", "does not answer at server .what answers there does not speak JSON"),
        (200, b"[1, 2]", "does not speak JSON"),
        (200, b'{"outputs": {}}', "has no list of predictions"),
        (200, b'{"predictions": [3.5]}', "has the outputs none, but not boxes"),
        (200, row(masks="iVBORw0KGgo="), "has values of other kinds than our models give"),
        (200, row(masks={"base64": ""}), "has values of other kinds than our models give"),
        (200, row(masks={"b64": "?"}), "has values of other kinds than our models give"),
        (200, row(boxes=[[0.0], [0.0, 1.0]]), "has values of other kinds than our models give"),
        (200, row(boxes=0.0), r"has outputs of the shapes boxes \[1\], scores \[1, 1\]"),
    ],
)
def test_answers_of_something_else(monkeypatch, status, content, message):
    model = RestModel(ModelSpec("server", "small", None, 1.0))
    monkeypatch.setattr(model, "_exchange", lambda *request: (status, content))
    with pytest.raises(ServingError, match=message):
        model.predict([b""])


def test_needs_neither_tensorflow_nor_grpc():
    program = """
import sys
sys.modules.update(tensorflow=None, keras=None, grpc=None, tensorflow_serving=None)
from keras_mrcnn.serving.tf_serving_client import TFServingClient
TFServingClient("localhost", "small").close()
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], env=child_environment(), check=True, timeout=60)
