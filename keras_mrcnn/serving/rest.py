"""TensorFlow Serving's REST interface; urllib3 keeps the connections.

Reference:
    TensorFlow Serving, "RESTful API" (g3doc/api_rest.md): row format, binary values, model status, errors.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from urllib.parse import quote, urlsplit

import numpy as np
import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError, ProtocolError, TimeoutError

from keras_mrcnn.serving.served_model import INPUT, MASKS_PNG, OUTPUT_DTYPES, SIGNATURE, ModelSpec, one_line, state_text

DEFAULT_PORT = 8501
KEPT = 32  # idle connections
OK, NOT_FOUND = 200, 404
PORTS = {"http": 80, "https": 443}


class RestModel:
    """A served model that is called by REST. Connections are kept open and reused; several threads may share it.

    Args:
        spec: the model; its address is host[:port] (port 8501 by default) or an http:// or https:// URL, which may
            have a path.

    Raises:
        ValueError: the address is none of these.
    """

    def __init__(self, spec: ModelSpec):
        self.spec = spec
        self._pool, prefix = _pool(spec)
        version = "" if spec.version is None else f"/versions/{spec.version}"
        self._path = f"{prefix}/v1/models/{quote(spec.name, safe='')}{version}"

    def predict(self, encoded: Sequence[bytes]) -> list[dict[str, np.ndarray]]:
        """Runs the model on encoded images.

        Args:
            encoded: contents of JPEG or PNG files.

        Returns:
            The outputs of the signature for each image, without the batch dimension; masks uint8 [D, M, M].

        Raises:
            ServingError: see `TFServingClient`.
        """
        # Rows, not columns: in columns the server writes each number on an indented line of its own.
        instances = [{INPUT: {"b64": base64.b64encode(content).decode("ascii")}} for content in encoded]
        body = json.dumps({"signature_name": SIGNATURE, "instances": instances})
        rows = self._ask("POST", f"{self._path}:predict", body).get("predictions")
        if not isinstance(rows, list):
            raise self.spec.strange("has no list of predictions")
        for row in rows:
            # A model with a single output gives bare values.
            self.spec.check_names(list(row) if isinstance(row, dict) else [])
        try:
            outputs = {name: np.array([row[name] for row in rows], dtype) for name, dtype in OUTPUT_DTYPES.items()}
            files = [base64.b64decode(row[MASKS_PNG]["b64"], validate=True) for row in rows]
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise self.spec.strange(f"has values of other kinds than our models give ({one_line(error)})") from error
        return self.spec.rows(outputs, files, len(encoded))

    def states(self) -> dict[int, str]:
        """Returns the state of each version that the server knows, such as {1: "AVAILABLE"}."""
        versions = self._ask("GET", self._path).get("model_version_status", [])
        return {
            int(version["version"]): state_text(version["state"], version.get("status", {}).get("error_message", ""))
            for version in versions
        }

    def close(self) -> None:
        """Closes the connections."""
        self._pool.close()

    def _ask(self, method, path, body=None):
        status, content = self._exchange(method, path, body)
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        if status != OK:
            # Error messages with escapes that JSON does not know are used unparsed.
            message = answer.get("error") if isinstance(answer, dict) else content.decode("utf-8", "replace")
            message = f"HTTP {status}, {message}"
            raise self.spec.unknown(message) if status == NOT_FOUND else self.spec.refused(message)
        if not isinstance(answer, dict):
            raise self.spec.unreachable("what answers there does not speak JSON")
        return answer

    def _exchange(self, method, path, body):
        """Sends one request and returns the status and the content of the answer."""
        headers = {"Content-Type": "application/json"} if body else None
        try:
            try:
                response = self._pool.urlopen(method, path, body, headers, retries=False)
            except ProtocolError:  # the server may have closed a connection that was idle for a while
                response = self._pool.urlopen(method, path, body, headers, retries=False)
        except HTTPError as error:
            # urllib3 counts a connection that was refused among those that took too long.
            if isinstance(error, TimeoutError) and not isinstance(error, NewConnectionError):
                raise self.spec.too_slow() from error
            raise self.spec.unreachable(error) from error
        return response.status, response.data


def _pool(spec):
    """Returns the pool of connections to a server, and the path of the URL."""
    url = spec.address if "://" in spec.address else f"http://{spec.address}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts = port = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise ValueError(f"address {spec.address!r} is neither host:port nor an http:// or https:// URL")
    if port is None:
        port = DEFAULT_PORT if url != spec.address else PORTS[parts.scheme]
    kind = urllib3.HTTPSConnectionPool if parts.scheme == "https" else urllib3.HTTPConnectionPool
    return kind(parts.hostname, port, timeout=spec.timeout, maxsize=KEPT), parts.path.rstrip("/")
