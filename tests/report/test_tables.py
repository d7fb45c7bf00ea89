import math

from keras_mrcnn.report.tables import Column, Table, is_number, sort_key


def test_each_hint_once():
    columns = [Column("class"), Column("side", "in pixels"), Column("area"), Column("side", "in pixels")]
    assert Table("", columns, []).hints == [("side", "in pixels")]


def test_sort_keys_are_exact_and_empty_for_what_is_missing():
    assert sort_key(0.1 + 0.2) == "0.30000000000000004" and sort_key(7) == "7"
    assert sort_key(None) == sort_key(math.nan) == ""


def test_numbers_and_what_is_missing_are_aligned_on_the_right():
    assert is_number(None) and is_number(0.5) and not is_number("0.5")
