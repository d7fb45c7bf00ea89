"""Detections in parts: rows, bad pictures, resuming and sharing, with a model that needs no network."""

import json
import os
import shutil

import numpy as np
import pytest
from fake_detector import make_pictures

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.image_files import ImageError
from keras_mrcnn.batch import PartSettings, Shard, open_input, predict_parts, run
from keras_mrcnn.batch.parts import PartsFolder, read_manifest, read_parts
from keras_mrcnn.batch.rows import read_rows

SMALL = PartSettings(part_size=3)
FORMATS = pytest.mark.parametrize("format", ["parquet", "jsonl"])


def predict(model, pictures, out, settings=SMALL, **options):
    return predict_parts(model, open_input([pictures]), out, settings, **options)


def files(folder):
    """Every file of a results folder but what says when it was made."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def counts(folder):
    """Number of rows of each picture, by its id; those without detections count 0."""
    found = {}
    for row in read_parts(folder):
        found[row["image_id"]] = found.get(row["image_id"], 0) + (row["detection"] is not None)
    return found


def assert_sentence(error, *parts):
    text = str(error.value)
    assert "\n" not in text and all(part in text for part in parts), text


@FORMATS
def test_parts_manifest_and_errors(model, pictures, tmp_path, format):
    out = tmp_path / "new" / "out"
    outcome = predict(model, pictures, out, PartSettings(format, part_size=3))
    assert outcome.counts == (7, 9, 0) and outcome.is_complete and outcome.errors == out / f"errors.{format}"
    parts = [f"part-{number:05d}.{format}" for number in range(3)]
    others = [*(f"{part}.json" for part in parts), "manifest.json", f"errors.{format}"]
    assert sorted(files(out)) == sorted([*parts, *others])
    assert counts(out) == {1: 0, 2: 1, 3: 2, 4: 3, 5: 0, 6: 1, 7: 2}
    assert [row["image_id"] for row in read_rows(out / parts[1])] == [4, 4, 4, 5, 6]
    assert list(read_rows(outcome.errors)) == []
    manifest = read_manifest(out)
    assert manifest["settings"] == {
        "format": format, "part_size": 3, "batch_size": 1, "min_score": 0.0, "runtime": "onnx",
    }  # fmt: skip
    assert manifest["counts"] == {"pictures": 7, "detections": 9, "errors": 0}
    assert manifest["categories"] == [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}]
    assert manifest["sources"] == {"weights": str(model.path), "pictures": [str(pictures)]}
    assert {"keras_mrcnn", "python", "numpy", "pillow"} <= set(manifest["versions"])


@FORMATS
def test_bad_pictures_are_listed_and_do_not_stop_the_run(model, pictures, tmp_path, format):
    (pictures / "001.png").write_bytes(b"no image")
    (pictures / "004.png").write_bytes((pictures / "004.png").read_bytes()[:-30])
    outcome = predict(model, pictures, tmp_path / "out", PartSettings(format, part_size=3))
    assert outcome.counts == (7, 8, 2) and counts(tmp_path / "out") == {1: 0, 3: 2, 4: 3, 6: 1, 7: 2}
    first, second = read_rows(outcome.errors)
    assert first["image"] == str(pictures / "001.png") and first["image_id"] == 2
    assert "is not an image that Pillow knows" in first["error"] and "is damaged" in second["error"]


def test_missing_pictures_of_a_list_are_listed(model, pictures, tmp_path):
    (tmp_path / "list.txt").write_text(f"{pictures}/000.png\n{pictures}/gone.png\n{pictures}/003.png\n")
    outcome = predict(model, tmp_path / "list.txt", tmp_path / "out")
    assert outcome.counts == (3, 3, 1) and "does not exist" in next(read_rows(outcome.errors))["error"]


@FORMATS
def test_bad_names_are_written_with_escapes(model, tmp_path, format):
    (tmp_path / "list.txt").write_bytes(b"gone-\xff.png\n")
    predict(model, tmp_path / "list.txt", tmp_path / "out", PartSettings(format))
    (error,) = read_rows(tmp_path / "out" / f"errors.{format}")
    assert error["image"] == "gone-\\xff.png" and "gone-\\xff.png does not exist" in error["error"]


def test_only_bad_pictures(model, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    assert predict(model, tmp_path / "photos", tmp_path / "out").counts == (1, 0, 1)
    assert counts(tmp_path / "out") == {}


def test_strict_stops_at_a_bad_picture_and_keeps_whole_parts(model, pictures, tmp_path):
    good = (pictures / "004.png").read_bytes()
    (pictures / "004.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match="004.png is not an image"):
        predict(model, pictures, tmp_path / "out", strict=True)
    assert sorted(files(tmp_path / "out")) == ["manifest.json", "part-00000.parquet", "part-00000.parquet.json"]
    (pictures / "004.png").write_bytes(good)
    assert predict(model, pictures, tmp_path / "out", strict=True, resume=True).counts == (7, 9, 0)


def test_min_score_leaves_rows_out(model, pictures, tmp_path):
    assert predict(model, pictures, tmp_path / "out", PartSettings(min_score=0.7)).counts == (7, 5, 0)
    assert {row["score"] for row in read_parts(tmp_path / "out")} == {None, np.float32(0.9)}


def test_batches_hold_pictures_of_one_size_and_one_part(model, pictures, tmp_path):
    make_pictures(tmp_path / "photos" / "wide", 2, (10, 20))
    predict(model, pictures, tmp_path / "out", PartSettings(batch_size=2, part_size=5))
    assert [shape[:3] for shape in model.seen] == [(2, 12, 10), (2, 12, 10), (1, 12, 10), (2, 12, 10), (2, 10, 20)]


def test_rows_do_not_depend_on_the_parts(model, pictures, tmp_path):
    predict(model, pictures, tmp_path / "a", PartSettings(part_size=2))
    predict(model, pictures, tmp_path / "b", PartSettings("jsonl", part_size=100))
    assert list(read_parts(tmp_path / "a")) == list(read_parts(tmp_path / "b"))


def test_shards_make_the_parts_of_one_run(model, pictures, tmp_path):
    predict(model, pictures, tmp_path / "whole")
    last = [predict(model, pictures, tmp_path / "shared", shard=Shard(index, 2)) for index in (1, 0)]
    assert [outcome.is_complete for outcome in last] == [False, True] and last[0].counts == (3, 4, 0)
    assert files(tmp_path / "shared") == files(tmp_path / "whole")


def test_shard_without_parts_does_nothing(model, pictures, tmp_path):
    outcome = predict(model, pictures, tmp_path / "out", shard=Shard(5, 9))
    assert outcome.counts == (0, 0, 0) and not outcome.is_complete and model.seen == []


def test_resuming_writes_what_is_missing_alone(model, pictures, tmp_path):
    out = tmp_path / "out"
    predict(model, pictures, out)
    wanted = files(out)
    # As kills leave it: a part that is cut off, one without its summary, a temporary file, and no errors yet.
    os.truncate(out / "part-00001.parquet", 10)
    (out / "part-00002.parquet.json").unlink()
    (out / "errors.parquet").unlink()
    (out / ".part-00002.parquet.12-ab.tmp").write_bytes(b"half")
    model.seen.clear()
    steps = []
    predict(model, pictures, out, resume=True, progress=lambda *step: steps.append(step))
    assert files(out) == wanted and len(model.seen) == 4 and steps == [(done, 7) for done in range(3, 8)]


def test_finished_run_is_left_alone(model, pictures, tmp_path, monkeypatch):
    first = predict(model, pictures, tmp_path / "out")
    monkeypatch.setattr(run, "open_runtime", None)  # the model is not even loaded
    assert predict(model, pictures, tmp_path / "out", resume=True) == first


def test_results_are_not_replaced_without_resume(model, pictures, tmp_path):
    predict(model, pictures, tmp_path / "out")
    with pytest.raises(UserError) as error:
        predict(model, pictures, tmp_path / "out")
    assert_sentence(error, "out holds parts already; go on with --resume, or name another folder with --out")
    (tmp_path / "out" / "manifest.json").unlink()
    with pytest.raises(UserError, match="has parts and no manifest.json"):
        predict(model, pictures, tmp_path / "out", resume=True)


def test_other_settings_weights_and_pictures_are_refused(model, pictures, tmp_path):
    out = tmp_path / "out"
    predict(model, pictures, out)
    with pytest.raises(UserError) as error:
        predict(model, pictures, out, PartSettings(part_size=4), resume=True)
    assert_sentence(error, "out holds detections of other settings (part_size was 3 and is 4); take the same")
    model.path.write_bytes(b"other weights")
    with pytest.raises(UserError) as error:
        predict(model, pictures, out, resume=True)
    assert_sentence(error, "of other weights (sha256 was ")
    model.path.write_bytes(b"weights")
    shutil.copy(pictures / "000.png", pictures / "900.png")
    with pytest.raises(UserError) as error:
        predict(model, pictures, out, resume=True)
    assert_sentence(error, "of other pictures (pictures was 7 and is 8)")


def test_names_that_change_meanwhile_are_noticed(model, pictures, tmp_path, monkeypatch):
    listed = open_input([pictures])
    before = listed.listing(3)
    monkeypatch.setattr(listed, "listing", lambda size: before)
    os.rename(pictures / "004.png", pictures / "0045.png")
    with pytest.raises(UserError, match="the pictures of part 1 changed while others were read"):
        predict_parts(model, listed, tmp_path / "out", SMALL)
    assert not PartsFolder(tmp_path / "out", "parquet", 3).is_whole(1)


def test_faults_of_the_network_stop_the_run(model, pictures, tmp_path, monkeypatch):
    def fail(source):
        return run.Runtime(("cat",), (1,), 3, lambda pictures: 1 / 0)

    monkeypatch.setattr(run, "open_runtime", fail)
    with pytest.raises(ZeroDivisionError):
        predict(model, pictures, tmp_path / "out")
    assert list(files(tmp_path / "out")) == ["manifest.json"]


def test_unfinished_results_are_not_read(model, pictures, tmp_path):
    predict(model, pictures, tmp_path / "out", shard=Shard(0, 2))
    with pytest.raises(UserError, match="has not all of its parts yet; finish them with --resume"):
        list(read_parts(tmp_path / "out"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has no manifest.json; `keras-mrcnn predict --format parquet` writes such folders"),
        ("{", "manifest.json cannot be read"),
        ('{"format": "other"}', "manifest.json is not the manifest of detections"),
        (json.dumps({"format": run.FORMAT, "version": 99}), "has version 99, not 1"),
    ],
)
def test_folders_that_hold_no_detections(tmp_path, content, message):
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=message):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"format": "csv"}, "no format csv for parts; choose one of parquet, jsonl"),
        ({"part_size": 0}, "part_size is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(UserError, match=message):
        PartSettings(**settings)
