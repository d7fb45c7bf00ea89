"""A web server on 127.0.0.1 with one file, and with the faults of servers and networks."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.server
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from keras_mrcnn.pretrained import PRETRAINED


class FileServer(http.server.ThreadingHTTPServer):
    """Answers every path with `content`. `faults` has one entry for each of the first requests, None for none.

    A fault is a number of bytes after which the connection ends, a status to answer with, written "503", a path to
    redirect to, or a function that is called with the handler when half of the content is sent.
    """

    daemon_threads = True

    def __init__(self, content: bytes):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.etag: str | None = '"first"'
        self.has_ranges = True
        self.faults: list[int | str | Callable | None] = []
        self.requests: list[tuple[str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/models/net.bin"

    @property
    def ranges(self) -> list[str | None]:
        """The Range header of each request."""
        return [headers.get("Range") for _, headers in self.requests]

    def handle_error(self, request, client_address):
        pass  # a client that has left in the middle


class _Handler(http.server.BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, dict(self.headers)))
        count = len(server.requests)
        fault = server.faults[count - 1] if count <= len(server.faults) else None
        if isinstance(fault, str):
            self._turn_away(fault)
        else:
            self._send_content(fault)

    def _turn_away(self, fault):
        redirects = fault.startswith("/")
        self.send_response(302 if redirects else int(fault))
        if redirects:
            self.send_header("Location", fault)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send_content(self, fault):
        server, start = self.server, 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and server.has_ranges and self.headers.get("If-Range") in (None, server.etag):
            start = int(asked[1])
        total = len(server.content)
        if start >= total:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.send_header("Content-Length", str(total - start))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        body = server.content[start:]
        if callable(fault):
            self.wfile.write(body[: len(body) // 2])
            fault(self)
            self.wfile.write(body[len(body) // 2 :])
        else:
            self.wfile.write(body if fault is None else body[:fault])

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving(content: bytes) -> Iterator[FileServer]:
    """Runs a `FileServer` in a thread."""
    server = FileServer(content)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def publishing(name: str, path: Path, monkeypatch, cache: Path) -> Iterator[FileServer]:
    """Serves a file in place of the published weights of that name, which are kept in `cache`/models."""
    content = path.read_bytes()
    with serving(content) as server:
        url = server.url.replace("net.bin", f"{name}-12345678{path.suffix}")
        checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
        monkeypatch.setenv("KERAS_HOME", str(cache))
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setitem(PRETRAINED, name, dataclasses.replace(PRETRAINED[name], url=url, checksum=checksum))
        yield server


def stall(handler):
    """A fault: nothing more comes, for a while."""
    time.sleep(5)
