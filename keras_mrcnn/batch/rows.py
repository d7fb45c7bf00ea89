"""The rows of detections, and the files that hold them: Parquet or JSON lines.

A row is one detection. A picture without detections has one row in which everything after its size is null, so every
picture that was read is in the rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Optional, Union

from keras_mrcnn.base import mask_pasting
from keras_mrcnn.base.errors import MissingPackageError, UserError
from keras_mrcnn.base.records import Detections

# The columns and their types, by the names of Arrow.
COLUMNS = {
    "image": "string",
    "image_id": "int64",
    "height": "int32",
    "width": "int32",
    "detection": "int32",
    "category_id": "int32",
    "class_name": "string",
    "score": "float32",
    "x0": "float32",
    "y0": "float32",
    "x1": "float32",
    "y1": "float32",
    "mask_counts": "string",
}
ERROR_COLUMNS = {"image": "string", "image_id": "int64", "error": "string"}
ROWS_AT_ONCE = 1024  # rows of a row group: as many are in memory
COMPRESSION = "zstd"

Row = tuple[Any, ...]


def rows_of(image: str, image_id: int, detections: Detections) -> list[Row]:
    """Returns the rows of a picture.

    Args:
        image: name of the picture.
        image_id: its id.
        detections: what was detected in it, best first.

    Returns:
        A tuple in the order of `COLUMNS` for each detection, or one for a picture without detections. mask_counts are
        the counts of COCO's compressed run-length code of the mask, pasted at 0.5 into an image of height x width.

    Example:
        >>> rows_of("a.jpg", 7, Detections.empty((48, 64)))[0][:5]
        ('a.jpg', 7, 48, 64, None)
    """
    picture = (image, image_id, *detections.image_size)
    if not len(detections):
        return [picture + (None,) * (len(COLUMNS) - len(picture))]
    codes: Iterable = [{"counts": None}] * len(detections)
    if detections.masks is not None:
        codes = mask_pasting.encode(detections.mask_patches(), detections.image_size)
    columns = zip(
        range(len(detections)),
        detections.category_ids.tolist(),
        detections.class_names,
        detections.scores.tolist(),
        detections.boxes.tolist(),
        codes,
    )
    return [(*picture, *fields, *box, code["counts"]) for *fields, box, code in columns]


class ParquetRows:
    """Writes rows into a Parquet file, a row group at a time.

    Args:
        path: path of the file.
        columns: names and Arrow types.

    Raises:
        MissingPackageError: pyarrow is not installed.
    """

    def __init__(self, path: Path, columns: dict[str, str]) -> None:
        self._arrow, parquet = import_pyarrow()
        self._schema = self._arrow.schema([(name, _arrow_type(self._arrow, kind)) for name, kind in columns.items()])
        self._writer = parquet.ParquetWriter(str(path), self._schema, compression=COMPRESSION)
        self._rows: list[Row] = []

    def write(self, rows: Iterable[Row]) -> None:
        """Adds rows; they reach the file when there are enough of them, or at the end."""
        self._rows += rows
        while len(self._rows) >= ROWS_AT_ONCE:
            self._write_group(self._rows[:ROWS_AT_ONCE])
            del self._rows[:ROWS_AT_ONCE]

    def close(self) -> None:
        """Writes what is left, and the end of the file."""
        if self._rows:
            self._write_group(self._rows)
        self._writer.close()

    def _write_group(self, rows: list[Row]) -> None:
        arrays = [self._arrow.array(column, field.type) for column, field in zip(zip(*rows), self._schema)]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))

    def __enter__(self) -> ParquetRows:
        return self

    def __exit__(self, kind: Optional[type], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        if error is None:
            self.close()
        else:
            self._writer.close()  # the file is thrown away


class JsonRows:
    """Writes rows as JSON lines: an object with the columns as keys on each line; see `ParquetRows`."""

    def __init__(self, path: Path, columns: dict[str, str]) -> None:
        self._path, self._names = path, tuple(columns)

    def write(self, rows: Iterable[Row]) -> None:
        """Adds rows."""
        for row in rows:
            self._file.write(json.dumps(dict(zip(self._names, row)), ensure_ascii=False) + "\n")

    def __enter__(self) -> JsonRows:
        self._file = open(self._path, "w", encoding="utf-8")
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


ROW_FORMATS = {"parquet": ParquetRows, "jsonl": JsonRows}
RowWriter = Union[ParquetRows, JsonRows]


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Reads the rows of a file, a row group at a time.

    Args:
        path: file whose name ends in .parquet or .jsonl.

    Yields:
        A dict of the columns for each row.

    Raises:
        UserError: the file is missing or damaged; the message names it.
    """
    try:
        if path.suffix == ".jsonl":
            with open(path, encoding="utf-8") as file:
                yield from map(json.loads, file)
        else:
            _, parquet = import_pyarrow()
            with parquet.ParquetFile(str(path)) as file:
                # Older versions of pyarrow refuse a file without row groups.
                for batch in file.iter_batches(ROWS_AT_ONCE) if file.metadata.num_rows else ():
                    yield from batch.to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> UserError:
    """Makes the error for a file of a results folder that cannot be read."""
    if isinstance(error, UserError):
        return error
    reason = " ".join(str(error).split())
    return UserError(f"{path} cannot be read ({reason}); delete it and run the same command with --resume")


def _arrow_type(arrow: Any, name: str) -> Any:
    return getattr(arrow, name)()


def import_pyarrow() -> tuple[Any, Any]:
    """Imports pyarrow and its module for Parquet."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingPackageError(
            "Parquet files need pyarrow: pip install 'keras_mrcnn[parquet]', or take --format jsonl"
        ) from error
    return pyarrow, pyarrow.parquet
