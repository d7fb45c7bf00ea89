"""Tables as text, for the terminal and for Markdown, and how their values are written."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence


def is_missing(value: object) -> bool:
    """Tells whether there is no value: None, NaN or an infinity."""
    return value is None or (isinstance(value, numbers.Real) and not math.isfinite(value))


def format_value(value: object, missing: str = "-") -> str:
    """Returns a value as tables write it: three decimals, or one from 10 on; commas between thousands.

    Args:
        value: str, number or None.
        missing: stands for what `is_missing`.

    Example:
        >>> [format_value(value) for value in (1234, 0.5, 44.44, None, "car")]
        ['1,234', '0.500', '44.4', '-', 'car']
    """
    if is_missing(value):
        return missing
    if not isinstance(value, numbers.Real):
        return str(value)
    if isinstance(value, numbers.Integral):
        return f"{value:,}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def text_table(rows: Sequence[Sequence[object]], left_columns: int = 1, min_width: int = 0) -> str:
    """Returns a table of aligned columns, two spaces apart.

    Args:
        rows: the values of each row, all rows of one length; `format_value` writes them.
        left_columns: how many of the first columns are aligned on the left; the others are on the right.
        min_width: of the columns on the right, in characters.

    Returns:
        str with a line for each row, without a final newline.

    Example:
        >>> print(text_table([("", "AP"), ("box", 0.5), ("mask", None)]))
                 AP
        box   0.500
        mask      -
    """
    texts = [[format_value(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts)]
    widths = [width if number < left_columns else max(width, min_width) for number, width in enumerate(widths)]
    return "\n".join(_line(cells, widths, left_columns) for cells in texts)


def _line(cells: Sequence[str], widths: Sequence[int], left_columns: int) -> str:
    aligned = [
        cell.ljust(width) if number < left_columns else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(cells, widths))
    ]
    return "  ".join(aligned).rstrip()


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Returns a Markdown table, without a final newline; `format_value` writes the values.

    Example:
        >>> print(markdown_table(["class", "AP"], [["a|b", 0.5]]))
        | class | AP |
        | --- | --- |
        | a\\|b | 0.500 |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(escape_markdown(format_value(cell)) for cell in line) + " |" for line in lines)


def escape_markdown(text: str) -> str:
    """Returns the text on one line, with bars escaped, so that it fits into a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")
