"""Metrics as a plain-text table, for people, and as a JSON file, for programs.

Metrics are the dicts that the evaluations of this package return, either of one stage or of several by name:
`{"rpn": {...}, "box": {...}, "mask": {...}}`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from keras_mrcnn.base.atomic_files import atomic_write
from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.tables import text_table

PER_CLASS = "per_class"
STAGE_TITLES = {"rpn": "RPN"}
COLUMN_WIDTH = 7  # characters, so that the columns of several tables line up


def format_table(metrics: Mapping) -> str:
    """Returns metrics as a plain-text table.

    Stages with the same metrics (box and mask) stand side by side; each of the others gets its own table. The AP of
    each class follows below. A metric with nothing to score is "-".

    Args:
        metrics: the metrics of one stage, or a dict of stage name to metrics.

    Returns:
        str of several lines, without a final newline.

    Example:
        >>> print(format_table({"rpn": {"accuracy": 0.9512, "AR100": None}}))
                      RPN
        accuracy    0.951
        AR100           -
    """
    stages = {name: value for name, value in metrics.items() if isinstance(value, Mapping) and name != PER_CLASS}
    alone = {name: value for name, value in metrics.items() if name not in stages}
    groups: dict[tuple, dict[str, Mapping]] = {}
    if alone:
        groups[()] = {"": alone}
    for name, stage in stages.items():
        groups.setdefault(tuple(sorted(stage)), {})[STAGE_TITLES.get(name, name)] = stage
    return "\n\n".join(_format_group(columns) for columns in groups.values()) or "(no metrics)"


def write_json(path: str | os.PathLike, metrics: Mapping) -> None:
    """Writes metrics to a standard JSON file.

    The new file replaces the old one in one step, so other programs never read half a file.

    Args:
        path: the file to write; its folder is made if it does not exist.
        metrics: a dict that may hold NumPy numbers and arrays; NaN and infinities become null.

    Raises:
        TypeError: a value cannot be written as JSON.
    """
    path = Path(path)
    text = json.dumps(_plain(metrics), indent=2, allow_nan=False, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike) -> dict:
    """Reads a JSON file that `write_json` has written.

    Args:
        path: the file to read.

    Returns:
        dict of the metrics.

    Raises:
        FileNotFoundError: the file does not exist.
        UserError: the file is not JSON; the message names it.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not JSON ({error}); write it again.") from None


def _format_group(columns: Mapping[str, Mapping]) -> str:
    """Returns one table, with a row for each metric and then for each class, and a column for each stage."""
    rows: list[tuple] = [("", *columns)] if any(columns) else []
    names = _union(columns.values())
    rows += [
        (name.replace("_", " "), *(stage.get(name) for stage in columns.values()))
        for name in names
        if name != PER_CLASS
    ]
    per_class = [stage.get(PER_CLASS) or {} for stage in columns.values()]
    class_names = _union(per_class)
    if class_names:
        rows.append(("AP of each class", *("" for _ in columns)))
        rows += [(f"  {name}", *(stage.get(name) for stage in per_class)) for name in class_names]
    return text_table(rows, min_width=COLUMN_WIDTH)


def _union(mappings: Iterable[Mapping]) -> list[str]:
    """Returns the keys of all mappings in the order of their first appearance."""
    return list(dict.fromkeys(str(key) for mapping in mappings for key in mapping))


def _plain(value: object) -> object:
    """Returns a value as plain Python types, with None for NaN and infinities; unknown types are returned unchanged."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
