"""Pictures in Parquet files: paths, or the bytes of image files."""

from __future__ import annotations

import contextlib
import functools
import glob
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Optional

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.image_files import ImageError, Picture
from keras_mrcnn.batch.inputs import Input, Unnumbered, matching
from keras_mrcnn.batch.rows import import_pyarrow

# Columns with pictures, in this order: bytes before paths.
PICTURE_COLUMNS = ("image", "picture", "bytes", "content", "path", "image_path", "file_name", "filename")
NAME_COLUMNS = ("path", "image_path", "file_name", "filename")
ID_COLUMN = "image_id"
ROWS_AT_ONCE = 8  # pictures of a file in memory
NAMES_AT_ONCE = 1024
BUFFER = 1 << 20  # bytes; otherwise pyarrow reads a whole row group


class _Columns(NamedTuple):
    """Where the pictures of a file are: the columns of the bytes, of paths or names, and of the ids.

    A field of a struct has the name of its column, a dot and its own.
    """

    content: Optional[str]
    name: Optional[str]
    image_id: Optional[str]


def parquet_input(
    arguments: Sequence[str], column: Optional[str], ids: Optional[Callable[[str], tuple[str, int]]]
) -> Input:
    """Opens pictures in Parquet files, see `open_input`.

    Raises:
        UserError: a file cannot be read, or has no column with pictures; the message names it.
    """
    files = [file for argument in arguments for file in _expanded(argument)]
    columns = {file: _columns(file, column) for file in files}
    fingerprint = "\n".join(f"{os.path.getsize(file)}" for file in files)

    def read() -> Iterator[Unnumbered]:
        return itertools.chain.from_iterable(_pictures(file, columns[file]) for file in files)

    return Input(arguments, read, fingerprint, ids)


def _expanded(argument: str) -> list[str]:
    is_pattern = glob.has_magic(argument) and not os.path.exists(argument)
    return [path.as_posix() for path in matching(argument)] if is_pattern else [argument]


def _open(file: str) -> Any:
    """Opens a file as a pyarrow.parquet.ParquetFile."""
    _, parquet = import_pyarrow()
    if not os.path.exists(file):
        raise UserError(f"{file} does not exist; check the path")
    with _reading(file):
        return parquet.ParquetFile(file, buffer_size=BUFFER)


@contextlib.contextmanager
def _reading(file: str) -> Iterator[None]:
    """Turns the errors of pyarrow into UserError."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file} is not a Parquet file that pyarrow can read ({reason}); replace it") from error


def _columns(file: str, column: Optional[str]) -> _Columns:
    """Finds the columns of a file."""
    schema = _open(file).schema_arrow
    names = [column] if column else [name for name in PICTURE_COLUMNS if name in schema.names]
    if not names or names[0] not in schema.names:
        have = f"it has {', '.join(schema.names) or 'none'}"
        wanted = f"no column {column}" if column else f"none of the columns {', '.join(PICTURE_COLUMNS)}"
        raise UserError(f"{file} has {wanted}; {have}: name the one with the pictures with --column")
    kinds = {name: _kind(schema.field(name).type) for name in names}
    picked = next((name for name in names if kinds[name] is not None), names[0])
    image_id = ID_COLUMN if ID_COLUMN in schema.names and _is_integer(schema.field(ID_COLUMN).type) else None
    paths = [name for name in NAME_COLUMNS if name in schema.names and _kind(schema.field(name).type) == "path"]
    if kinds[picked] == "path":
        return _Columns(None, picked, image_id)
    if kinds[picked] == "bytes":
        return _Columns(picked, next(iter(paths), None), image_id)
    if kinds[picked] == "struct":
        has_path = schema.field(picked).type.get_field_index("path") >= 0
        return _Columns(f"{picked}.bytes", f"{picked}.path" if has_path else next(iter(paths), None), image_id)
    kind = schema.field(picked).type
    raise UserError(f"{file}: the column {picked} holds {kind}, not paths or bytes; name another with --column")


def _kind(kind: Any) -> Optional[str]:
    """Returns what a column of an Arrow type can hold: "path", "bytes", "struct" of both, or None."""
    arrow, _ = import_pyarrow()
    if arrow.types.is_string(kind) or arrow.types.is_large_string(kind):
        return "path"
    if arrow.types.is_binary(kind) or arrow.types.is_large_binary(kind):
        return "bytes"
    return "struct" if arrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else None


def _is_integer(kind: Any) -> bool:
    arrow, _ = import_pyarrow()
    return arrow.types.is_integer(kind)


def _pictures(file: str, columns: _Columns) -> Iterator[Unnumbered]:
    """Gives the pictures of a file; reads names and ids alone until a picture is loaded."""
    light = [column for column in (columns.name, columns.image_id) if column]
    names = itertools.repeat((None, None)) if not light else _values(file, columns)
    reader = _Reader(file, columns.content) if columns.content else None
    for row, (path, image_id) in zip(range(_open(file).metadata.num_rows), names):
        name = path or f"{file}#{row}"
        load = functools.partial(_path, path, name) if reader is None else functools.partial(reader.load, row, path)
        yield Unnumbered(name, os.path.basename(name), image_id, load)


def _path(path: Optional[str], place: str) -> str:
    if not path:
        raise ImageError(f"{place} has no path; fill it in or remove the row")
    return path


def _values(file: str, columns: _Columns) -> Iterator[tuple[Optional[str], Optional[int]]]:
    """Gives name and id of each row."""
    wanted = [column for column in (columns.name, columns.image_id) if column]
    batches = _open(file).iter_batches(NAMES_AT_ONCE, columns=wanted)
    while (batch := _next(batches, file)) is not None:
        empty = [None] * len(batch)
        names = _field(batch, columns.name) if columns.name else empty
        ids = _field(batch, columns.image_id) if columns.image_id else empty
        yield from zip(names, ids)


def _next(batches: Iterator, file: str) -> Any:
    """Returns the next rows of a file, or None at the end."""
    with _reading(file):
        return next(batches, None)


def _field(batch: Any, column: str) -> list:
    """Returns the values of a column, or of a field of a struct."""
    name, _, field = column.partition(".")
    values = batch.column(name).to_pylist()
    return [value and value[field] for value in values] if field else values


class _Reader:
    """Reads the bytes of pictures in rising order of their rows, a few at a time."""

    def __init__(self, file: str, column: str) -> None:
        self._name, self._column = file, column
        self._file: Any = None
        self._start = self._group_stop = 0
        self._values: list[Optional[bytes]] = []
        self._batches: Iterator = iter(())

    def load(self, row: int, path: Optional[str]) -> Picture:
        """Returns the bytes of a row, or its path where it has no bytes."""
        if not self._start <= row < self._group_stop:
            self._open_group(row)
        while row >= self._start + len(self._values):
            self._start += len(self._values)
            self._values = _field(_next(self._batches, self._name), self._column)
        content = self._values[row - self._start]
        if content is None and not path:
            raise ImageError(f"{self._name}#{row} has no picture; fill it in or remove the row")
        return path if content is None else content

    def _open_group(self, row: int) -> None:
        """Starts to read the row group that holds a row."""
        self._file = self._file or _open(self._name)
        stop, metadata = 0, self._file.metadata
        for group in range(metadata.num_row_groups):
            start, stop = stop, stop + metadata.row_group(group).num_rows
            if row < stop:
                break
        self._start, self._group_stop, self._values = start, stop, []
        self._batches = self._file.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=[self._column])
