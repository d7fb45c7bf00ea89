"""The error analysis for people: a plain-text table. For programs, `write_json` takes the analysis as it is."""

from __future__ import annotations

from collections.abc import Mapping

WIDTHS = (9, 11)  # of the columns with numbers and with costs
ROW_NAMES = {
    "class": "wrong class",
    "location": "wrong location",
    "both": "both wrong",
    "missed": "missed object",
    "false_positives": "all false positives",
    "false_negatives": "all false negatives",
}
TOTALS = {"ground_truths": "objects", "detections": "detections", "right": "  right", "ignored": "  ignored (crowds)"}


def format_errors(errors: Mapping[str, Mapping]) -> str:
    """Draws what `analyse_errors` found as a plain-text table: rows of mistakes, and stages side by side.

    "-" stands for AP50 and costs where there is no object to find.

    Args:
        errors: dict of stage name ("box", "mask") to what `analyse_errors` returned.

    Returns:
        str of several lines, without a final newline.

    Example:
        >>> found = analyse_errors(dataset.coco, results, "bbox")  # doctest: +SKIP
        >>> print(format_errors({"box": found}))  # doctest: +SKIP
        mistakes at IoU 0.5                    box
                                number  AP50 cost
        wrong class                 12      0.031
        wrong location               7      0.020
        ...
    """
    if not errors:
        return "(no error analysis)"
    stages = list(errors.values())
    rows = [
        ("mistakes at IoU 0.5", [("", stage) for stage in errors]),
        ("", [("number", "AP50 cost") for _ in stages]),
    ]
    for part in ("kinds", "special"):
        for name in stages[0][part]:
            entries = [stage[part][name] for stage in stages]
            cells = [(str(entry["count"]), _score(entry["AP50_cost"])) for entry in entries]
            rows.append((ROW_NAMES.get(name, name), cells))
    rows += [(title, [(str(stage[name]), "") for stage in stages]) for name, title in TOTALS.items()]
    rows.append(("AP50", [("", _score(stage["AP50"])) for stage in stages]))
    return "\n".join(_line(title, cells) for title, cells in rows)


def _line(title: str, cells: list[tuple[str, str]]) -> str:
    """Returns a row: its title, then number and cost of each stage."""
    columns = [text.rjust(width) for pair in cells for text, width in zip(pair, WIDTHS)]
    return "".join([title.ljust(20), *columns]).rstrip()


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
