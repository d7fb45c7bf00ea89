"""Downloads files once into Keras' cache folder, resumes broken downloads, and checks the files before use."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import logging
import os
import re
import socket
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from keras_mrcnn import __version__

try:
    import fcntl
except ImportError:  # Windows has none; there the checksum alone guards against two writers
    fcntl = None

logger = logging.getLogger(__name__)

TIMEOUT = 30.0  # seconds without receiving a byte
ATTEMPTS = 4
PAUSE = 1.0  # seconds before the second attempt; each further pause is twice as long
CHUNK = 1 << 18  # bytes
# Status codes that may pass in a moment, and 416, after which the download starts over.
PASSING = (408, 416, 425, 429, 500, 502, 503, 504)
# Errors that another attempt does not fix: no network or unknown host, connection refused, untrusted certificate.
LASTING = (socket.gaierror, ConnectionRefusedError, ssl.SSLCertVerificationError)


class DownloadError(OSError):
    """An error for a file that cannot be downloaded; the message says why, and where to save the file by hand."""


def cached_file(name: str) -> Path | None:
    """Returns the path of a file in Keras' cache folder, or None if it is not there.

    Args:
        name: file name without a folder.
    """
    return next((folder / name for folder in _cache_folders() if (folder / name).is_file()), None)


def cache_folder() -> Path:
    """Returns the folder in which `keras.utils.get_file` keeps models, and makes it if it does not exist.

    This is `models` in the folder that the environment variable KERAS_HOME names, by default ~/.keras. If that folder
    is not writable, it is `.keras/models` in the folder for temporary files.

    Raises:
        DownloadError: neither folder is writable.
    """
    for folder in _cache_folders():
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder
    raise DownloadError(f"{_cache_folders()[0]}: cannot be written to; set KERAS_HOME to a folder that can")


def fetch(url: str, name: str, checksum: str) -> Path:
    """Returns the path of a file in Keras' cache folder, and downloads the file first if it is not there.

    The file appears under its name once it is complete and its checksum is right. Until then it is called NAME.part.
    A broken download leaves that file, and the next call continues from there. Only one process at a time downloads a
    file; others wait for it. Proxies are taken from the environment.

    Args:
        url: address of the file.
        name: name of the file in the folder.
        checksum: algorithm and hexadecimal digest, "sha256:..." or "md5:...".

    Raises:
        DownloadError: there is no network, the server does not have the file or gives a different one, the disk is
            full, or a different file of that name is in the folder.
    """
    path = cached_file(name)
    if path is None:
        path = cache_folder() / name
        try:
            return _download(url, path, checksum)
        except KeyboardInterrupt:
            hint = f"{name} is not complete; what has come is kept, and the next call goes on from there"
            raise KeyboardInterrupt(f"interrupted; {hint}") from None
    if not has_checksum(path, checksum):
        raise DownloadError(f"{path}: is not the file of {url}, for it is not {checksum}; move it away to download it")
    return path


def has_checksum(path: str | os.PathLike, checksum: str) -> bool:
    """Returns whether a file matches a checksum such as "md5:d41d8cd98f00b204e9800998ecf8427e"."""
    algorithm, _, expected = checksum.partition(":")
    return digest(path, algorithm) == expected


def digest(path: str | os.PathLike, algorithm: str = "sha256") -> str:
    """Returns the hexadecimal digest of a file; reads it in pieces, so it may be larger than the memory."""
    state = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            state.update(chunk)
    return state.hexdigest()


def _cache_folders() -> list[Path]:
    """Returns the folders that may hold cached files, the preferred one first."""
    home = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")
    bases = (os.path.expanduser(home), os.path.join(tempfile.gettempdir(), ".keras"))
    return [Path(base, "models") for base in bases]


def _download(url: str, path: Path, checksum: str) -> Path:
    """Downloads a file to `path`, checks it, and returns `path`."""
    part = path.with_name(f"{path.name}.part")
    with _only_writer(part):
        if path.is_file():
            return path  # another process has downloaded and checked it while this one waited
        _receive_all(url, part, path)
        right = has_checksum(part, checksum)
        if right:
            os.replace(part, path)
        else:
            part.unlink()
        _validator_file(part).unlink(missing_ok=True)
    if not right:
        raise DownloadError(
            f"{url}: gives another file than expected, one that is not {checksum}, so it was removed; try again, or "
            f"get the file elsewhere and save it as {path}"
        )
    return path


@contextlib.contextmanager
def _only_writer(part: Path) -> Iterator[None]:
    """Lets only one process or thread at a time run the block, and leaves no empty file behind."""
    with _locked(part):
        try:
            yield
        finally:
            if part.is_file() and not part.stat().st_size:
                part.unlink()


def _locked(part: Path) -> BinaryIO:
    """Opens and locks a file, and returns it; closing it releases the lock."""
    while True:
        try:
            file = open(part, "ab")  # noqa: SIM115 (open as long as the lock is held)
        except OSError as error:
            raise _unwritable(part, error) from None
        if fcntl is None:
            file.close()  # Windows neither renames nor removes open files
            return file
        with contextlib.suppress(OSError):  # some network disks have no locks; the checksum alone guards there
            _lock(file, part)
        # The lock belongs to the file, not to its name, which another file may have taken while this process waited.
        if _is_same(file.fileno(), part):
            return file
        file.close()


def _lock(file: BinaryIO, part: Path) -> None:
    """Waits for the lock of a file and takes it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.warning("%s: another process downloads this file; waiting for it", part)
        fcntl.flock(file, fcntl.LOCK_EX)


def _is_same(descriptor: int, path: Path) -> bool:
    """Returns whether an open file is the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _receive_all(url: str, part: Path, path: Path) -> None:
    """Downloads into `part`, and tries again if that may help."""
    for attempt in range(ATTEMPTS):
        time.sleep(PAUSE * 2 ** (attempt - 1) if attempt else 0)
        try:
            return _receive(url, part)
        except DownloadError:
            raise
        except (OSError, http.client.HTTPException) as error:
            reason, lasting = _reason(error), _is_lasting(error)
            if isinstance(error, urllib.error.HTTPError):
                error.close()
        if lasting:
            break
    kept = "try again, which goes on from what has come, or " if part.stat().st_size else ""
    raise DownloadError(
        f"{path.name}: cannot be downloaded ({reason}); {kept}get {url} where there is a network, and save it as {path}"
    )


def _receive(url: str, part: Path) -> None:
    """Makes one request, and appends its answer to `part` or starts the file over."""
    from tqdm import tqdm

    start, headers = part.stat().st_size, {"User-Agent": f"keras_mrcnn/{__version__}", "Accept-Encoding": "identity"}
    validator_file = _validator_file(part)
    # A download can only continue if the server's file is known to be the same still.
    if start and validator_file.is_file():
        headers |= {"Range": f"bytes={start}-", "If-Range": validator_file.read_text("utf-8")}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            if error.headers.get("Content-Range") == f"bytes */{start}":
                error.close()
                return  # the download was complete, but not checked yet
            validator_file.unlink(missing_ok=True)
        raise
    with response:
        begins, total = _range(response)
        if begins not in (0, start):
            validator_file.unlink(missing_ok=True)
            raise http.client.HTTPException("the server answers with another part of the file")
        _keep_validator(response, validator_file)
        sizes = {"initial": begins, "total": total, "unit": "B", "unit_scale": True}
        with tqdm(desc=part.stem, disable=None, **sizes) as bar:
            received = begins + _append(response, part, begins, bar)
    if total is not None and received != total:
        raise http.client.HTTPException(f"the connection ended after {received:,} of {total:,} bytes")


def _append(response: http.client.HTTPResponse, part: Path, begins: int, bar: Any) -> int:
    """Writes the body of an answer after the first `begins` bytes of `part`, and returns how many bytes it had."""
    count = 0
    # Unbuffered, so that every byte received is in the file, however this ends.
    with open(part, "ab" if begins else "wb", buffering=0) as file:
        while chunk := response.read1(CHUNK):
            rest = memoryview(chunk)
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError as error:
                raise _unwritable(part, error) from None
            count += len(chunk)
            bar.update(len(chunk))
    return count


def _range(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Returns the offset of an answer's first byte, and the length of the whole file, or None if it is unknown."""
    length = response.headers.get("Content-Length")
    if response.status != 206:
        return 0, None if length is None else int(length)
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if match is None:
        return -1, None
    return int(match[1]), None if match[2] == "*" else int(match[2])


def _validator_file(part: Path) -> Path:
    """Returns the path of the file that keeps the validator (an ETag or a date) of an incomplete download."""
    return part.with_name(f"{part.name}.etag")


def _keep_validator(response: http.client.HTTPResponse, file: Path) -> None:
    """Saves what identifies the version of the server's file, so that the download can continue later."""
    etag = response.headers.get("ETag", "")
    # A weak tag may stay the same when bytes change.
    validator = response.headers.get("Last-Modified", "") if not etag or etag.startswith("W/") else etag
    try:
        if validator:
            file.write_text(validator, encoding="utf-8")
        else:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(file, error) from None


def _unwritable(path: Path, error: OSError) -> DownloadError:
    """Returns the error for a file that cannot be written."""
    return DownloadError(
        f"{path}: cannot be written ({error.strerror}); free some space there, or set KERAS_HOME to another folder"
    )


def _is_lasting(error: Exception) -> bool:
    """Returns whether another attempt would fail in the same way."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code not in PASSING
    return isinstance(getattr(error, "reason", error), LASTING)


def _reason(error: Exception) -> str:
    """Returns in a few words why a request failed."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    cause = getattr(error, "reason", error)
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
