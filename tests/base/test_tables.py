"""Tests of keras_mrcnn.base.tables."""

import math

import numpy as np
import pytest

from keras_mrcnn.base.tables import escape_markdown, format_value, is_missing, markdown_table, text_table


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"), (12345, "12,345"), (np.int64(1234), "1,234"), (0.12345, "0.123"), (np.float32(0.5), "0.500"),
        (-9.9996, "-10.000"), (10.0, "10.0"), (-1234.56, "-1,234.6"), ("a", "a"), (None, "-"), (math.nan, "-"),
        (math.inf, "-"), (np.float32("nan"), "-"),
    ],
)  # fmt: skip
def test_values(value, text):
    assert format_value(value) == text
    assert is_missing(value) == (text == "-")


def test_another_sign_for_what_is_missing():
    assert format_value(None, missing="none") == "none" and format_value(0, missing="none") == "0"


def test_columns_are_aligned():
    rows = [("", "tensors", "MB"), ("backbone", 1234, 90.26), ("RPN", 6, None)]
    assert text_table(rows).splitlines() == [
        "          tensors    MB",
        "backbone    1,234  90.3",
        "RPN             6     -",
    ]
    assert text_table([("a", "b"), ("long", "c")], left_columns=2).splitlines() == ["a     b", "long  c"]
    assert text_table([("a", 1)], min_width=5) == "a      1"


def test_text_without_rows_is_empty():
    assert text_table([]) == ""


def test_markdown():
    assert markdown_table(["name", "AP"], [["one\ntwo", 0.5], ["a|b", None]]).splitlines() == [
        "| name | AP |",
        "| --- | --- |",
        "| one two | 0.500 |",
        r"| a\|b | - |",
    ]
    assert markdown_table(["name"], []).splitlines() == ["| name |", "| --- |"]
    assert escape_markdown("plain") == "plain"
