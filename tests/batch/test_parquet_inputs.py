"""Pictures in Parquet files: paths and bytes, under the names that programs give them."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.image_files import ImageError, read_image
from keras_mrcnn.batch import parquet_inputs
from keras_mrcnn.batch.inputs import open_input


def png(value):
    content = io.BytesIO()
    Image.new("RGB", (3, 2), (value, 0, 0)).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def table(tmp_path):
    """Writes columns into a file with row groups of 10 rows, and returns its path."""

    def write(name="table.parquet", **columns):
        parquet.write_table(pa.table(columns), tmp_path / name, row_group_size=10)
        return (tmp_path / name).as_posix()

    return write


def values(entries):
    return [int(read_image(entry.load())[0, 0, 0]) for entry in entries]


def test_paths(table, tmp_path):
    paths = []
    for value in (5, 6):
        paths.append(str(tmp_path / f"{value}.png"))
        (tmp_path / f"{value}.png").write_bytes(png(value))
    entries = list(open_input([table(path=paths, label=["x", "y"])]))
    assert [(entry.name, entry.image_id) for entry in entries] == [(paths[0], 1), (paths[1], 2)]
    assert values(entries) == [5, 6]


def test_bytes_with_names_and_ids(table):
    columns = {"content": [png(value) for value in range(35)], "path": [f"{value}.png" for value in range(35)]}
    entries = list(open_input([table(**columns, image_id=list(range(100, 135)))]))
    assert (entries[34].name, entries[34].image_id) == ("34.png", 134)
    assert values(entries) == list(range(35))


@pytest.mark.parametrize("rows", [[0, 1, 2, 8, 9], [9, 10], [3, 33], [34], [25, 26, 7]])
def test_some_of_the_rows(table, rows):
    entries = list(open_input([table(bytes=[png(value) for value in range(35)])]))
    assert values(entries[row] for row in rows) == rows


def test_rows_without_a_name_are_called_after_the_file(table):
    path = table(bytes=[png(1), png(2)])
    assert [entry.name for entry in open_input([path])] == [f"{path}#0", f"{path}#1"]


def test_structs_as_hugging_face_writes_them(table, tmp_path):
    (tmp_path / "b.png").write_bytes(png(2))
    images = [{"bytes": png(1), "path": "a.png"}, {"bytes": None, "path": str(tmp_path / "b.png")}]
    entries = list(open_input([table(image=images)]))
    assert [entry.name for entry in entries] == ["a.png", str(tmp_path / "b.png")] and values(entries) == [1, 2]


def test_several_files_and_a_pattern(table, tmp_path):
    files = [table(f"part-{number}.parquet", bytes=[png(number)]) for number in range(3)]
    assert values(open_input(files)) == values(open_input([f"{tmp_path}/part-*.parquet"])) == [0, 1, 2]
    assert [entry.image_id for entry in open_input(files)] == [1, 2, 3]


def test_the_named_column(table):
    path = table(image=[png(1)], thumbnail=[png(2)])
    assert values(open_input([path])) == [1] and values(open_input([path], column="thumbnail")) == [2]


def test_empty_cells_are_bad_pictures(table):
    entries = list(open_input([table(image=[png(1), None, png(3)])]))
    assert values([entries[0], entries[2]]) == [1, 3]
    with pytest.raises(ImageError, match="table.parquet#1 has no picture"):
        entries[1].load()
    (entry,) = open_input([table(path=pa.array([None], pa.string()))])
    with pytest.raises(ImageError, match="table.parquet#0 has no path"):
        entry.load()


def test_changed_bytes_change_the_listing(table):
    listing = open_input([table(image=[png(1)])]).listing(5)
    assert listing != open_input([table(image=[png(1) + b"more"])]).listing(5)


def test_few_rows_are_in_memory(table, monkeypatch):
    read, whole = [], parquet_inputs._field
    monkeypatch.setattr(parquet_inputs, "_field", lambda *arguments: read.append(whole(*arguments)) or read[-1])
    path = table(bytes=[np.random.default_rng(0).bytes(50)] * 35)
    entries = list(open_input([path]))
    assert read == []
    entries[12].load()
    assert [len(batch) for batch in read] == [parquet_inputs.ROWS_AT_ONCE]


@pytest.mark.parametrize(
    ("columns", "column", "message"),
    [
        ({"label": ["x"]}, None, "has none of the columns image, picture, .* it has label: name the one"),
        ({"label": ["x"]}, "photo", "has no column photo; it has label"),
        ({"image": [1]}, None, "the column image holds int64, not paths or bytes"),
    ],
)
def test_columns_that_cannot_be_used(table, columns, column, message):
    with pytest.raises(UserError, match=message):
        open_input([table(**columns)], column)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(UserError, match="text.parquet is not a Parquet file that pyarrow can read"):
        open_input([tmp_path / "text.parquet"])
    with pytest.raises(UserError, match="gone.parquet does not exist; check the path"):
        open_input([tmp_path / "gone.parquet"])


def test_damage_in_the_middle_is_one_sentence(table):
    path = Path(table(bytes=[np.random.default_rng(row).bytes(2000) for row in range(35)]))
    content = bytearray(path.read_bytes())
    content[100:40000] = bytes(39900)
    path.write_bytes(content)
    with pytest.raises(UserError, match="table.parquet is not a Parquet file that pyarrow can read"):
        [entry.load() for entry in open_input([path])]
