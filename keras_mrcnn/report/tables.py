"""Tables as plain records, which the template turns into HTML that sorts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from keras_mrcnn.base.tables import is_missing


@dataclass(frozen=True)
class Column:
    """A column: its title, what it means, and whether its numbers, 0 to 1, have bars behind them."""

    title: str
    hint: str = ""
    has_bars: bool = False


@dataclass(frozen=True)
class Table:
    """A table; the first column names the rows.

    Args:
        caption: of the table.
        columns: one for each value of a row.
        rows: a sequence of values for each row: str, int, float or None.
        total: a last row, which sorting leaves in its place.
        notes: explanations of rows, by their names.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence]
    total: Sequence | None = None
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def hints(self) -> list[tuple[str, str]]:
        """The titles of columns that have a hint, with their hints; each once."""
        return list(dict.fromkeys((column.title, column.hint) for column in self.columns if column.hint))


def sort_key(value: object) -> str:
    """Returns what the page sorts by: the number itself, or "" where it is missing, which comes last."""
    return "" if is_missing(value) else repr(float(value) if isinstance(value, float) else value)


def is_number(value: object) -> bool:
    """Tells whether a value is aligned on the right; missing ones are."""
    return not isinstance(value, str)
