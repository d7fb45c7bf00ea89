"""Tests of keras_mrcnn.evaluation.tables."""

import json
import os
import stat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mrcnn.evaluation import format_table, read_json, write_json


def test_empty_metrics():
    assert format_table({}) == "(no metrics)"


def test_one_stage():
    table = format_table({"AP": 0.51234, "AP_small": None, "per_class": {"car": 0.25, "stop sign": float("nan")}})
    assert table.splitlines() == [
        "AP                  0.512",
        "AP small                -",
        "AP of each class",
        "  car               0.250",
        "  stop sign             -",
    ]


def test_stages_with_the_same_metrics_stand_side_by_side():
    metrics = {
        "rpn": {"accuracy": np.float32(0.5), "images": 150},
        "box": {"AP": 0.5, "per_class": {"car": 0.75}},
        "mask": {"AP": 0.25, "per_class": {"car": None}},
    }
    assert format_table(metrics).splitlines() == [
        "              RPN",
        "accuracy    0.500",
        "images        150",
        "",
        "                      box     mask",
        "AP                  0.500    0.250",
        "AP of each class",
        "  car               0.750        -",
    ]


def test_single_numbers_beside_stages_and_long_names_keep_the_columns():
    table = format_table({"seconds": 12.5, "box": {"a metric with a very long name": 1.0, "b": 10.0}})
    assert table.splitlines()[0] == "seconds     12.5"
    assert len({len(line) for line in table.splitlines()[2:]}) == 1


def test_json_comes_back_plain_and_without_nan(tmp_path):
    path = tmp_path / "runs" / "metrics.json"
    write_json(path, {"AP": np.float32(0.5), "n": np.int64(3), "bad": float("nan"), "list": np.array([1.0, np.inf]),
                      "per_class": {"été": None}, "pair": (1, 2)})  # fmt: skip
    assert read_json(path) == {
        "AP": 0.5, "n": 3, "bad": None, "list": [1.0, None], "per_class": {"été": None}, "pair": [1, 2],
    }  # fmt: skip
    assert "NaN" not in path.read_text(encoding="utf-8")
    assert os.listdir(path.parent) == ["metrics.json"]


def test_json_is_readable_by_whom_the_umask_says(tmp_path):
    write_json(tmp_path / "metrics.json", {})
    (tmp_path / "plain").write_text("")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("metrics.json", "plain")]
    assert modes[0] == modes[1]


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    write_json(path, {"AP": 0.5})
    with pytest.raises(TypeError):
        write_json(path, {"AP": object()})
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_json(path, {"AP": 0.75})
    assert json.loads(path.read_text()) == {"AP": 0.5}
    assert os.listdir(tmp_path) == ["metrics.json"]


def test_broken_json_is_named(tmp_path):
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(ValueError, match=r"metrics\.json is not JSON"):
        read_json(tmp_path / "metrics.json")
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        read_json(tmp_path / "none.json")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(metrics=st.dictionaries(st.text(), values))
@settings(max_examples=50, deadline=None)
def test_json_round_trip(tmp_path_factory, metrics):
    path = tmp_path_factory.getbasetemp() / "round_trip.json"
    write_json(path, metrics)
    assert read_json(path) == metrics
