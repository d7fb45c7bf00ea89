"""Shows which classes are taken for which, as a matrix of few classes and as a list."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_mrcnn.evaluation.curves import ConfusionMatrix
from keras_mrcnn.report.tables import Column, Table

MOST_CLASSES = 20  # a larger matrix could not be read
MOST_CONFUSIONS = 40


@dataclass(frozen=True)
class ConfusionCell:
    """A cell of the matrix: its count, its share of the row (0 to 1), and whether class and detection agree."""

    count: int
    share: float
    is_right: bool


@dataclass(frozen=True)
class ConfusionHeatmap:
    """The matrix as the template draws it: the names of rows and columns, and the cells of each row."""

    row_names: list[str]
    column_names: list[str]
    rows: list[list[ConfusionCell]]


def confusion_heatmap(matrix: ConfusionMatrix) -> ConfusionHeatmap | None:
    """Returns the matrix as the template draws it, or None if it has too many classes to be readable."""
    if len(matrix.class_names) - 1 > MOST_CLASSES:
        return None
    totals = np.maximum(matrix.counts.sum(axis=1), 1)
    last = len(totals) - 1
    rows = [
        [
            ConfusionCell(int(count), float(count / totals[row]), row == column and row != last)
            for column, count in enumerate(counts)
        ]
        for row, counts in enumerate(matrix.counts)
    ]
    names = list(matrix.class_names[:-1])
    return ConfusionHeatmap([*names, "nothing there"], [*names, "not found"], rows)


def confusion_table(matrix: ConfusionMatrix) -> Table:
    """Returns a table of the most frequent confusions of one class with another, most frequent first."""
    counts, names = matrix.counts, matrix.class_names
    totals = counts.sum(axis=1)
    last = len(names) - 1
    pairs = [(row, column) for row in range(last) for column in range(last) if row != column and counts[row, column]]
    pairs.sort(key=lambda pair: -counts[pair])
    columns = [
        Column("object"),
        Column("detected as"),
        Column("times"),
        Column("share", "of the objects of the class", has_bars=True),
    ]
    rows = [
        [names[row], names[column], int(counts[row, column]), float(counts[row, column] / totals[row])]
        for row, column in pairs[:MOST_CONFUSIONS]
    ]
    return Table("The most frequent confusions", columns, rows)
