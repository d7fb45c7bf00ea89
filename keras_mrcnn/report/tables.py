"""Tables as plain records, which the template turns into sortable HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from keras_mrcnn.base.tables import is_missing


@dataclass(frozen=True)
class Column:
    """A column: its title, an explanation, and whether bars show its numbers, which are then 0 to 1."""

    title: str
    hint: str = ""
    has_bars: bool = False


@dataclass(frozen=True)
class Table:
    """A table; the first column names the rows.

    Args:
        caption: text above the table.
        columns: one column for each value of a row.
        rows: a sequence of values for each row: str, int, float or None.
        total: an optional last row, which keeps its place when the table is sorted.
        notes: dict of row name to explanation.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence]
    total: Sequence | None = None
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def hints(self) -> list[tuple[str, str]]:
        """Returns the titles and hints of the columns that have a hint, each once."""
        return list(dict.fromkeys((column.title, column.hint) for column in self.columns if column.hint))


def sort_key(value: object) -> str:
    """Returns the key by which the page sorts a value. Missing values have the key "" and come last."""
    return "" if is_missing(value) else repr(float(value) if isinstance(value, float) else value)


def is_number(value: object) -> bool:
    """Returns whether a value is aligned to the right, as numbers and missing values are."""
    return not isinstance(value, str)
