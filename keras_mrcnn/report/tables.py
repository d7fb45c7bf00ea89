"""Tables as plain records, and how their values are written and sorted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Column:
    """A column: its title, what it means, and whether its numbers, 0 to 1, are shown as bars too."""

    title: str
    hint: str = ""
    has_bars: bool = False


@dataclass(frozen=True)
class Table:
    """A table; the first column names the rows.

    Args:
        caption: says what the table is, for those who hear it.
        columns: of all values.
        rows: a sequence of values for each row: str, int, float or None.
        total: a last row, which stays last however the others are sorted.
        notes: what the rows mean, by their names.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence]
    total: Sequence | None = None
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def hints(self) -> list[tuple[str, str]]:
        """Titles of the columns that need an explanation, and what they mean; each once."""
        return list(dict.fromkeys((column.title, column.hint) for column in self.columns if column.hint))


def shown(value) -> str:
    """A value as text: three decimals, thousands apart, a dash for what there is not.

    Example:
        >>> shown(1234), shown(0.5), shown(None), shown("car")
        ('1,234', '0.500', '–', 'car')
    """
    if is_missing(value):
        return "–"
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def sort_key(value) -> str:
    """What the page sorts by: the number itself, or nothing, which comes last."""
    return "" if is_missing(value) else repr(float(value) if isinstance(value, float) else value)


def is_missing(value) -> bool:
    """Whether there is no value: None or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_number(value) -> bool:
    """Whether a value belongs to the right of its column; what is missing does too."""
    return not isinstance(value, str)
