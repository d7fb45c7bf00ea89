import math

from keras_mrcnn.report.tables import Column, Table, is_missing, is_number, shown, sort_key


def test_each_hint_once():
    columns = [Column("class"), Column("side", "in pixels"), Column("area"), Column("side", "in pixels")]
    assert Table("", columns, []).hints == [("side", "in pixels")]


def test_shown():
    assert [shown(value) for value in (3, 12345, 0.12345, 123.456, "a", None, math.nan)] == [
        "3", "12,345", "0.123", "123.5", "a", "–", "–",
    ]  # fmt: skip


def test_sort_keys_are_exact_and_empty_for_what_is_missing():
    assert sort_key(0.1 + 0.2) == "0.30000000000000004" and sort_key(7) == "7"
    assert sort_key(None) == sort_key(math.nan) == ""


def test_kinds():
    assert is_missing(None) and is_missing(math.nan) and not is_missing(0)
    assert is_number(None) and is_number(0.5) and not is_number("0.5")
