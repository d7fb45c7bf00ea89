"""The results folder: parts with a fixed number of pictures each, of which every one is whole or not there.

    manifest.json            settings, weights, pictures, classes and versions; with the last part, counts
    part-00000.parquet       the rows of the first pictures, see `rows`; or part-00000.jsonl
    part-00000.parquet.json  a summary, written after the part: counts, and the pictures that cannot be read
    errors.parquet           with the last part: all pictures that cannot be read, and why; or errors.jsonl

A part depends on its pictures alone, so several processes can share the parts among them, and a part that a killed
process has not finished is written again by the next.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from keras_mrcnn.base.atomic_files import atomic_write
from keras_mrcnn.base.errors import UserError
from keras_mrcnn.batch.rows import COLUMNS, ERROR_COLUMNS, ROW_FORMATS, Row, RowWriter, damaged, read_rows

FORMAT, VERSION = "keras_mrcnn detections", 1
MANIFEST = "manifest.json"
SUMMARY_SUFFIX = ".json"
PART_PATTERN = "part-*"
DETECTION = list(COLUMNS).index("detection")
# What a run must share with the one that it goes on with: keys of the manifest, and their names in messages.
COMPARED = {"settings": "settings", "weights": "weights", "input": "pictures"}


@dataclass(frozen=True)
class PartSettings:
    """The settings that decide about the rows and parts.

    Args:
        format: "parquet" or "jsonl".
        part_size: pictures of a part.
        batch_size: the most pictures of one size that go through the network at once, of one part.
        min_score: lowest score of the detections to write.
    """

    format: str = "parquet"
    part_size: int = 1000
    batch_size: int = 1
    min_score: float = 0.0

    def __post_init__(self) -> None:
        """Checks the settings."""
        if self.format not in ROW_FORMATS:
            raise UserError(f"there is no format {self.format} for parts; choose one of {', '.join(ROW_FORMATS)}")
        for name in ("part_size", "batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1")


class Shard(NamedTuple):
    """The share of one of several processes: every `count`-th part, from part `index` on.

    Example:
        >>> [number for number in range(8) if number in Shard(1, 3)]
        [1, 4, 7]
    """

    index: int = 0
    count: int = 1

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and number % self.count == self.index


class Counts(NamedTuple):
    """How many pictures are in parts, how many detections, and how many of the pictures cannot be read."""

    pictures: int = 0
    detections: int = 0
    errors: int = 0

    def __add__(self, other: tuple) -> Counts:
        return Counts(*map(sum, zip(self, other)))


class PartsFolder:
    """A results folder.

    Args:
        path: path of the folder.
        format: "parquet" or "jsonl".
        num_parts: number of all parts.
    """

    def __init__(self, path: Path, format: str, num_parts: int) -> None:
        self.path, self.format, self.num_parts = path, format, num_parts

    def part(self, number: int) -> Path:
        """Returns the path of a part."""
        return self.path / f"part-{number:05d}.{self.format}"

    @property
    def errors(self) -> Path:
        """Returns the path of the file with the pictures that cannot be read."""
        return self.path / f"errors.{self.format}"

    def check(self, manifest: Mapping[str, Any], resume: bool, shard: Shard) -> bool:
        """Returns whether an earlier run, or another process of this one, has begun the folder.

        Raises:
            UserError: its results are of other settings, weights or pictures, or it has parts of this shard and
                `resume` is off.
        """
        if not (self.path / MANIFEST).is_file():
            if next(self.path.glob(PART_PATTERN), None) is not None:
                raise UserError(f"{self.path} has parts and no {MANIFEST}; name another folder with --out")
            return False
        earlier = read_manifest(self.path)
        for key, name in COMPARED.items():
            if earlier[key] != manifest[key]:
                change = _difference(earlier[key], manifest[key])
                raise UserError(
                    f"{self.path} holds detections of other {name} ({change}); take the same, or name another --out"
                )
        if not resume and any(self.is_whole(number) for number in range(self.num_parts) if number in shard):
            raise UserError(f"{self.path} holds parts already; go on with --resume, or name another folder with --out")
        return True

    def begin(self, manifest: Mapping[str, Any]) -> None:
        """Writes the manifest, which other processes may do at the same time."""
        self.path.mkdir(parents=True, exist_ok=True)
        _write_json(self.path / MANIFEST, manifest)

    def is_whole(self, number: int) -> bool:
        """Returns whether a part is there and whole."""
        try:
            return os.path.getsize(self.part(number)) == _read_json(_summary(self.part(number)))["bytes"]
        except FileNotFoundError:
            return False

    @contextlib.contextmanager
    def writer(self, number: int) -> Iterator[PartWriter]:
        """Gives the `PartWriter` of a part, which appears with its summary when the block ends without an error."""
        part = self.part(number)
        with atomic_write(part) as temporary:
            with ROW_FORMATS[self.format](temporary, COLUMNS) as rows:
                writer = PartWriter(rows)
                yield writer
            summary = {"bytes": os.path.getsize(temporary), **writer.summary()}
        _write_json(_summary(part), summary)

    def counts(self, shard: Shard) -> Counts:
        """Returns the sums over the parts of a shard, which are all whole."""
        total = Counts()
        for number in range(self.num_parts):
            if number in shard:
                total += Counts(**_read_json(_summary(self.part(number)))["counts"])
        return total

    def finish(self) -> bool:
        """Writes the errors and the counts if all parts are whole, and returns whether they are."""
        if not all(map(self.is_whole, range(self.num_parts))):
            return False
        with atomic_write(self.errors) as temporary, ROW_FORMATS[self.format](temporary, ERROR_COLUMNS) as rows:
            for number in range(self.num_parts):
                rows.write(map(tuple, _read_json(_summary(self.part(number)))["errors"]))
        _write_json(self.path / MANIFEST, {**read_manifest(self.path), "counts": self.counts(Shard())._asdict()})
        for left_over in self.path.glob(f".{PART_PATTERN}.tmp"):  # of processes that were killed
            left_over.unlink(missing_ok=True)
        return True


class PartWriter:
    """Writes one part, and counts."""

    def __init__(self, rows: RowWriter) -> None:
        self._rows, self._counts, self._errors = rows, Counts(), []

    def add(self, rows: list[Row]) -> None:
        """Adds the rows of a picture."""
        self._rows.write(rows)
        self._counts += Counts(pictures=1, detections=sum(row[DETECTION] is not None for row in rows))

    def add_error(self, image: str, image_id: int, error: str) -> None:
        """Adds a picture that cannot be read."""
        self._errors.append((image, image_id, error))
        self._counts += Counts(pictures=1, errors=1)

    def summary(self) -> dict[str, Any]:
        """Returns counts and errors."""
        return {"counts": self._counts._asdict(), "errors": self._errors}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads the manifest of a results folder.

    Raises:
        UserError: there is none, it is damaged, or another version has written it.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(f"{folder} has no {MANIFEST}; `keras-mrcnn predict --format parquet` writes such folders")
    try:
        manifest = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({error}); name another folder") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise UserError(f"{path} is not the manifest of detections; name another folder")
    if manifest["version"] != VERSION:
        raise UserError(f"{path} has version {manifest['version']}, not {VERSION}; predict again into another folder")
    return manifest


def is_parts_folder(folder: Path) -> bool:
    """Returns whether a folder holds detections in parts."""
    with contextlib.suppress(UserError):
        return bool(read_manifest(folder))
    return False


def read_parts(folder: Path) -> Iterator[dict[str, Any]]:
    """Reads all rows of a results folder, in order.

    Yields:
        A dict of the columns for each row, see `rows.COLUMNS`.

    Raises:
        UserError: parts are missing or damaged; the message names them.
    """
    manifest = read_manifest(folder)
    if "counts" not in manifest:
        raise UserError(f"{folder} has not all of its parts yet; finish them with --resume")
    parts = PartsFolder(folder, manifest["settings"]["format"], manifest["input"]["parts"])
    for number in range(parts.num_parts):
        yield from read_rows(parts.part(number))


def _difference(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Returns the first value that differs, in words."""
    key = next(key for key in {**earlier, **now} if earlier.get(key) != now.get(key))
    values = (str(value.get(key))[:12] for value in (earlier, now))
    return "{} was {} and is {}".format(key, *values)


def _summary(part: Path) -> Path:
    return part.with_name(part.name + SUMMARY_SUFFIX)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise damaged(path, error) from error
