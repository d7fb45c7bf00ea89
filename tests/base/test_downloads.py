"""Downloads against a real server on 127.0.0.1: whole, broken, changed, refused, interrupted, by two at once."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import pytest
from file_server import serving, stall

from keras_mrcnn.base import downloads
from keras_mrcnn.base.downloads import DownloadError, cache_folder, cached_file, digest, fetch, has_checksum

CONTENT = bytes(range(256)) * 4000  # a megabyte
HALF = len(CONTENT) // 2
SUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Keras' folder for models, empty; pauses are short, and no proxy is asked."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(urllib.request, "_opener", None)  # which keeps the proxies of its time
    monkeypatch.setattr(downloads, "PAUSE", 0.01)
    return tmp_path / "keras" / "models"


@pytest.fixture
def server():
    with serving(CONTENT) as server:
        yield server


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def refused(server, *words):
    """The one sentence of a download that fails."""
    with pytest.raises(DownloadError) as caught:
        fetch(server if isinstance(server, str) else server.url, "net.bin", SUM)
    message = str(caught.value)
    assert "\n" not in message and all(str(word) in message for word in words), message
    return message


def test_a_file_is_downloaded_once(folder, server):
    assert cached_file("net.bin") is None and not folder.exists()
    path = fetch(server.url, "net.bin", SUM)
    assert path == folder / "net.bin" == cached_file("net.bin")
    assert path.read_bytes() == CONTENT and names(folder) == ["net.bin"]
    assert fetch(server.url, "net.bin", SUM) == path
    assert server.ranges == [None]


def test_a_redirect_is_followed(folder, server):
    server.faults = ["/elsewhere"]
    assert fetch(server.url, "net.bin", SUM).read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == ["/models/net.bin", "/elsewhere"]


def test_a_broken_download_goes_on_where_it_ended(folder, server):
    server.faults = [HALF, 1000]
    assert fetch(server.url, "net.bin", SUM).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={HALF}-", f"bytes={HALF + 1000}-"]
    assert server.requests[1][1]["If-Range"] == '"first"'
    assert names(folder) == ["net.bin"]


def test_attempts_end_and_the_next_call_goes_on(folder, server):
    server.faults = [HALF] + [0] * (downloads.ATTEMPTS - 1)
    message = refused(server, f"{HALF:,} of {len(CONTENT):,} bytes", "try again", server.url, folder / "net.bin")
    assert message.startswith("net.bin: cannot be downloaded (the connection ended after ")
    assert len(server.requests) == downloads.ATTEMPTS
    assert names(folder) == ["net.bin.part", "net.bin.part.etag"] and cached_file("net.bin") is None
    assert fetch(server.url, "net.bin", SUM).read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={HALF}-" and names(folder) == ["net.bin"]


@pytest.mark.parametrize("change", ["another file", "no ranges", "no validator", "weak validator"])
def test_what_cannot_be_continued_is_begun_anew(folder, server, change):
    server.faults = [HALF] + [0 if change == "another file" else HALF] * (downloads.ATTEMPTS - 1)
    server.etag = {"no validator": None, "weak validator": 'W/"first"'}.get(change, server.etag)
    server.has_ranges = change != "no ranges"
    refused(server)
    if change == "another file":
        folder.joinpath("net.bin.part").write_bytes(b"of the earlier file" * 1000)
        server.etag = '"second"'
    assert fetch(server.url, "net.bin", SUM).read_bytes() == CONTENT
    assert (server.ranges[-1] is None) == ("validator" in change) and names(folder) == ["net.bin"]


def test_a_part_that_is_whole_is_only_checked(folder, server):
    folder.mkdir(parents=True)
    (folder / "net.bin.part").write_bytes(CONTENT)
    (folder / "net.bin.part.etag").write_text('"first"')
    assert fetch(server.url, "net.bin", SUM).read_bytes() == CONTENT
    assert len(server.requests) == 1 and names(folder) == ["net.bin"]


def test_a_part_that_is_too_long_is_begun_anew(folder, server):
    folder.mkdir(parents=True)
    (folder / "net.bin.part").write_bytes(CONTENT + b"more")
    (folder / "net.bin.part.etag").write_text('"first"')
    assert fetch(server.url, "net.bin", SUM).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT) + 4}-", None]


def test_another_content_is_removed(folder, server):
    server.content = CONTENT[:-1] + b"!"
    refused(server, server.url, SUM, "was removed", folder / "net.bin")
    assert names(folder) == []


@pytest.mark.parametrize(("status", "requests"), [("404", 1), ("403", 1), ("503", downloads.ATTEMPTS)])
def test_a_server_that_says_no(folder, server, status, requests):
    server.faults = [status] * downloads.ATTEMPTS
    message = refused(server, f"the server answers {status} ", server.url, f"save it as {folder / 'net.bin'}")
    assert len(server.requests) == requests and names(folder) == [] and "try again" not in message


def test_a_server_that_is_busy_for_a_moment(folder, server):
    server.faults = ["503", "429"]
    assert fetch(server.url, "net.bin", SUM).read_bytes() == CONTENT


def test_nobody_listens(folder, server):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/net.bin"
        message = refused(url, "Connection refused")
    assert message.endswith(f"; get {url} where there is a network, and save it as {folder / 'net.bin'}")
    assert names(folder) == []


def test_no_network(folder, monkeypatch):
    def no_such_host(*args, **kwargs):
        asked.append(args)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
    refused("https://nowhere.invalid/net.bin", "name resolution", "get https://nowhere", folder / "net.bin")
    assert len(asked) == 1


def test_a_server_that_falls_silent(folder, server, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT", 0.5)
    server.faults = [stall]
    assert fetch(server.url, "net.bin", SUM).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={HALF}-"]


def test_an_interrupt_keeps_what_has_come(folder, server):
    def interrupt(handler):
        while not (folder / "net.bin.part").is_file() or (folder / "net.bin.part").stat().st_size < HALF:
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        interrupted.wait(20)

    interrupted = threading.Event()
    server.faults = [interrupt]
    with pytest.raises(KeyboardInterrupt, match=r"interrupted; net.bin is not complete; what has come is kept"):
        fetch(server.url, "net.bin", SUM)
    interrupted.set()
    assert (folder / "net.bin.part").read_bytes() == CONTENT[:HALF]
    assert fetch(server.url, "net.bin", SUM).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={HALF}-"]


def test_a_disk_that_is_full(folder, server):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, hard))
    try:
        refused(server, folder / "net.bin.part", "cannot be written (File too large)", "KERAS_HOME")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (folder / "net.bin.part").stat().st_size == HALF and len(server.requests) == 1
    assert fetch(server.url, "net.bin", SUM).read_bytes() == CONTENT


def test_a_file_of_the_user_is_refused_and_left_alone(folder, server):
    folder.mkdir(parents=True)
    (folder / "net.bin").write_bytes(b"mine")
    refused(server, folder / "net.bin", "is not the file of", server.url, "move it away")
    assert (folder / "net.bin").read_bytes() == b"mine" and server.requests == []


# Two at once.


def child(server):
    """A process of its own that downloads the file."""
    program = f"from keras_mrcnn.base.downloads import fetch; fetch({server.url!r}, 'net.bin', {SUM!r})"
    return subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)


def until(condition):
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited in vain")


@pytest.fixture
def pause(server, caplog):
    """The first download stops in the middle until another one waits for it."""
    server.faults = [lambda handler: until(lambda: caplog.records)]


def test_two_processes_download_a_file_once(folder, server, pause, caplog):
    with child(server) as other:
        until(lambda: server.requests)
        assert fetch(server.url, "net.bin", SUM).read_bytes() == CONTENT
        assert other.wait(20) == 0, other.stderr.read()
    assert server.ranges == [None] and names(folder) == ["net.bin"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder / 'net.bin.part'}: another process downloads this file; waiting for it"
    ]


def test_what_a_killed_process_has_left_is_continued(folder, server):
    part, go_on = folder / "net.bin.part", threading.Event()
    server.faults = [lambda handler: go_on.wait(20)]
    with child(server) as other:
        until(lambda: part.is_file() and part.stat().st_size == HALF)
        other.kill()
    go_on.set()
    assert fetch(server.url, "net.bin", SUM).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={HALF}-"] and names(folder) == ["net.bin"]


def test_who_waits_in_vain_downloads_alone(folder, server, pause):
    """The first gets another content and removes its file; the second has waited for that very file."""
    wrong = SUM[:-1] + ("0" if SUM[-1] != "0" else "1")
    failures = []

    def first():
        try:
            fetch(server.url, "net.bin", wrong)
        except DownloadError as error:
            failures.append(str(error))

    thread = threading.Thread(target=first)
    thread.start()
    until(lambda: server.requests)
    assert fetch(server.url, "net.bin", SUM).read_bytes() == CONTENT
    thread.join()
    assert len(failures) == 1 and server.ranges == [None, None] and names(folder) == ["net.bin"]


# Where files are kept, and on which way they come.


def test_the_folder_is_the_one_of_keras(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.delenv("KERAS_HOME", raising=False)
    assert cache_folder() == tmp_path / "home" / ".keras" / "models"
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "named"))
    assert cache_folder() == tmp_path / "named" / "models"
    (tmp_path / "file").touch()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file"))  # below which there can be no folder
    assert cache_folder() == tmp_path / "temporary" / ".keras" / "models"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="set KERAS_HOME to a folder that can"):
        cache_folder()


def test_proxies_of_the_environment_are_used(folder, server, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    assert fetch("http://files.invalid/net.bin", "net.bin", SUM).read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == ["http://files.invalid/net.bin"]


def test_the_bar_counts_what_was_there_before(folder, server, monkeypatch):
    import tqdm

    class Bar(tqdm.tqdm):
        def __init__(self, **options):
            bars.append(self)
            super().__init__(**{**options, "disable": False, "file": io.StringIO()})

    bars = []
    monkeypatch.setattr(tqdm, "tqdm", Bar)
    server.faults = [HALF]
    fetch(server.url, "net.bin", SUM)
    assert [(bar.initial, bar.n, bar.total) for bar in bars] == [
        (0, HALF, len(CONTENT)), (HALF, len(CONTENT), len(CONTENT))
    ]  # fmt: skip


def test_digests(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert has_checksum(path, "md5:900150983cd24fb0d6963f7d28e17f72")
    path.write_bytes(b"")
    assert not has_checksum(path, "md5:900150983cd24fb0d6963f7d28e17f72")
    assert has_checksum(path, "md5:d41d8cd98f00b204e9800998ecf8427e")
