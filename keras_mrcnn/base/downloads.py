"""Files from the internet: downloaded once into Keras' cache folder, resumed after a break, checked before use."""

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
from typing import BinaryIO

from keras_mrcnn import __version__

try:
    import fcntl
except ImportError:  # Windows has none; there the checksum alone guards against two writers
    fcntl = None

logger = logging.getLogger(__name__)

TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 4
PAUSE = 1.0  # seconds before the second attempt; each further pause is twice as long
CHUNK = 1 << 18  # bytes
# Answers of a server that may be others a moment later, and 416, after which the file is begun anew.
PASSING = (408, 416, 425, 429, 500, 502, 503, 504)
# What trying again does not change: no network or no such host, nobody who listens, a certificate that is not trusted.
LASTING = (socket.gaierror, ConnectionRefusedError, ssl.SSLCertVerificationError)


class DownloadError(OSError):
    """A file that cannot be had; the message says why, and where to put it by hand."""


def cached_file(name: str) -> Path | None:
    """Returns the path of a file in Keras' cache folder, None where it is not there.

    Args:
        name: file name without a folder.
    """
    return next((folder / name for folder in _cache_folders() if (folder / name).is_file()), None)


def cache_folder() -> Path:
    """Returns the folder in which `keras.utils.get_file` keeps models, made if need be.

    That is `models` in the folder that the environment variable KERAS_HOME names, by default ~/.keras; where it cannot
    be written to, `.keras/models` in the folder for temporary files.

    Raises:
        DownloadError: neither can be written to.
    """
    for folder in _cache_folders():
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder
    raise DownloadError(f"{_cache_folders()[0]}: cannot be written to; set KERAS_HOME to a folder that can")


def fetch(url: str, name: str, checksum: str) -> Path:
    """Returns the path of a file in Keras' cache folder, and downloads it first where it is not there.

    The file appears under its name when it is whole and its checksum is right. Until then it is NAME.part, which stays
    after a break, so that the next call goes on from there. Only one process at a time downloads a file; others wait
    for it. Proxies are taken from the environment.

    Args:
        url: where it comes from.
        name: its name in the folder.
        checksum: algorithm and hexadecimal digest, "sha256:..." or "md5:...".

    Raises:
        DownloadError: there is no network, the server does not have the file or has another one, the disk is full, or
            another file has the name.
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
    """Returns whether a file's digest is the one of a checksum such as "md5:d41d8cd98f00b204e9800998ecf8427e"."""
    algorithm, _, expected = checksum.partition(":")
    return digest(path, algorithm) == expected


def digest(path: str | os.PathLike, algorithm: str = "sha256") -> str:
    """Returns the hexadecimal digest of a file, which is read in pieces."""
    state = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            state.update(chunk)
    return state.hexdigest()


def _cache_folders() -> list[Path]:
    home = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")
    bases = (os.path.expanduser(home), os.path.join(tempfile.gettempdir(), ".keras"))
    return [Path(base, "models") for base in bases]


def _download(url: str, path: Path, checksum: str) -> Path:
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
    """Lets one process or thread at a time into the block; leaves no empty file behind."""
    with _locked(part):
        try:
            yield
        finally:
            if part.is_file() and not part.stat().st_size:
                part.unlink()


def _locked(part: Path) -> BinaryIO:
    """The opened file, to be closed to give the lock back."""
    while True:
        try:
            file = open(part, "ab")  # noqa: SIM115 (open as long as the lock is held)
        except OSError as error:
            raise _unwritable(part, error) from None
        if fcntl is None:
            file.close()  # Windows neither renames nor removes open files
            return file
        with contextlib.suppress(OSError):  # some network disks know no locks; then the checksum alone guards
            _lock(file, part)
        # The lock belongs to the file and not to its name, which may have gone to another one while this one waited.
        if _is_same(file.fileno(), part):
            return file
        file.close()


def _lock(file: BinaryIO, part: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.warning("%s: another process downloads this file; waiting for it", part)
        fcntl.flock(file, fcntl.LOCK_EX)


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _receive_all(url: str, part: Path, path: Path) -> None:
    """Downloads into `part`, with a few more attempts where that may help."""
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
    """Makes one request and appends its answer to `part`, or begins it anew."""
    from tqdm import tqdm

    start, headers = part.stat().st_size, {"User-Agent": f"keras_mrcnn/{__version__}", "Accept-Encoding": "identity"}
    validator_file = _validator_file(part)
    # Without knowing that the file is still the same, what there is cannot be continued.
    if start and validator_file.is_file():
        headers |= {"Range": f"bytes={start}-", "If-Range": validator_file.read_text("utf-8")}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            if error.headers.get("Content-Range") == f"bytes */{start}":
                error.close()
                return  # it was complete, only not checked
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


def _append(response: http.client.HTTPResponse, part: Path, begins: int, bar) -> int:
    """Writes the answer's body behind the first `begins` bytes of `part`; returns how many bytes came."""
    count = 0
    # Without a buffer everything that has come is in the file, however this ends.
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
    """The first byte that an answer has, and the length of the whole file, None where the server does not say."""
    length = response.headers.get("Content-Length")
    if response.status != 206:
        return 0, None if length is None else int(length)
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if match is None:
        return -1, None
    return int(match[1]), None if match[2] == "*" else int(match[2])


def _validator_file(part: Path) -> Path:
    """Beside a part stands what tells whether the server's file is still the one that the part is of."""
    return part.with_name(f"{part.name}.etag")


def _keep_validator(response: http.client.HTTPResponse, file: Path) -> None:
    etag = response.headers.get("ETag", "")
    # A weak tag may stay where bytes change.
    validator = response.headers.get("Last-Modified", "") if not etag or etag.startswith("W/") else etag
    try:
        if validator:
            file.write_text(validator, encoding="utf-8")
        else:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(file, error) from None


def _unwritable(path: Path, error: OSError) -> DownloadError:
    return DownloadError(
        f"{path}: cannot be written ({error.strerror}); free some space there, or set KERAS_HOME to another folder"
    )


def _is_lasting(error: Exception) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code not in PASSING
    return isinstance(getattr(error, "reason", error), LASTING)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    cause = getattr(error, "reason", error)
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
