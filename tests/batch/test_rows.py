"""Rows of detections, in Parquet and in JSON lines."""

import json
import sys

import numpy as np
import pytest
from fake_detector import detect_one
from pyarrow import parquet
from pycocotools import mask as mask_api

from keras_mrcnn.base.errors import MissingPackageError, UserError
from keras_mrcnn.base.records import Detections
from keras_mrcnn.batch.rows import COLUMNS, ERROR_COLUMNS, ROW_FORMATS, ROWS_AT_ONCE, read_rows, rows_of


@pytest.fixture
def detections():
    pixels = np.full((8, 6, 3), 200, np.uint8)
    pixels[0, 0] = 2
    return detect_one(pixels)


def write(path, rows, columns=COLUMNS):
    with ROW_FORMATS[path.suffix[1:]](path, columns) as writer:
        writer.write(rows)
    return path


def test_rows_of_two_detections(detections):
    first, second = (dict(zip(COLUMNS, row)) for row in rows_of("a/b.jpg", 5, detections))
    counts = first.pop("mask_counts")
    assert first == {
        "image": "a/b.jpg", "image_id": 5, "height": 8, "width": 6, "detection": 0, "category_id": 7,
        "class_name": "cat", "score": np.float32(0.9), "x0": 0.0, "y0": 0.0, "x1": 3.0, "y1": 4.0,
    }  # fmt: skip
    assert second["detection"] == 1 and second["class_name"] == "dog"
    mask = mask_api.decode({"size": [8, 6], "counts": counts})
    np.testing.assert_array_equal(mask, detections.paste_masks()[0])


def test_picture_without_detections_has_one_row():
    (row,) = rows_of("a.jpg", 5, Detections.empty((8, 6)))
    assert row == ("a.jpg", 5, 8, 6) + (None,) * 9 and len(row) == len(COLUMNS)


def test_detections_without_masks():
    plain = Detections(np.ones((1, 4)), np.ones(1), np.int32([3]), ("dog",), None, (4, 4))
    assert rows_of("a.jpg", 1, plain)[0][-1] is None


@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl"])
def test_what_is_written_is_read(tmp_path, detections, name):
    rows = [*rows_of("grün.jpg", 2**40, detections), *rows_of("b.jpg", 2, Detections.empty((3, 5)))] * 700
    back = list(read_rows(write(tmp_path / name, rows)))
    assert len(rows) == 2100 > 2 * ROWS_AT_ONCE
    assert [tuple(row.values()) for row in back] == rows and tuple(back[0]) == tuple(COLUMNS)


@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl"])
@pytest.mark.parametrize("columns", [COLUMNS, ERROR_COLUMNS])
def test_no_rows(tmp_path, name, columns):
    assert list(read_rows(write(tmp_path / name, [], columns))) == []


def test_parquet_has_the_types_of_the_columns(tmp_path, detections):
    schema = parquet.read_schema(write(tmp_path / "rows.parquet", rows_of("a.jpg", 1, detections)))
    assert {field.name: str(field.type).replace("float", "float32") for field in schema} == COLUMNS


def test_json_lines_are_json(tmp_path, detections):
    lines = write(tmp_path / "rows.jsonl", rows_of("a.jpg", 1, detections)).read_text("utf-8").splitlines()
    assert [json.loads(line)["score"] for line in lines] == [np.float32(0.9), np.float32(0.6)]


@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl"])
def test_damaged_file_is_named(tmp_path, detections, name):
    path = write(tmp_path / name, rows_of("a.jpg", 1, detections))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=f"{name} cannot be read .* with --resume"):
        list(read_rows(path))


def test_without_pyarrow_there_are_json_lines(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackageError, match="take --format jsonl"):
        write(tmp_path / "rows.parquet", [])
    assert write(tmp_path / "rows.jsonl", []).read_text() == ""
