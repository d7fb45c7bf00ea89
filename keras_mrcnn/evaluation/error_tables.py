"""Plain-text tables of the error analysis. `write_json` writes the same analysis as JSON."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from keras_mrcnn.base.tables import text_table

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
    """Returns the results of `analyse_errors` as a plain-text table, with a row for each kind and stages side by side.

    AP50 and costs are "-" if there are no objects.

    Args:
        errors: dict of stage name ("box", "mask") to the result of `analyse_errors`.

    Returns:
        str of several lines, without a final newline.

    Example:
        >>> errors = analyse_errors(dataset.coco, results, "bbox")  # doctest: +SKIP
        >>> print(format_errors({"box": errors}))  # doctest: +SKIP
        mistakes at IoU 0.5                 box
                              number  AP50 cost
        wrong class               12      0.031
        wrong location             7      0.020
        ...
    """
    if not errors:
        return "(no error analysis)"
    stages = list(errors.values())
    rows = [
        ("mistakes at IoU 0.5", *_flat(("", name) for name in errors)),
        ("", *_flat(("number", "AP50 cost") for _ in stages)),
    ]
    for part in ("kinds", "special"):
        for name in stages[0][part]:
            entries = (stage[part][name] for stage in stages)
            cells = _flat((entry["count"], entry["AP50_cost"]) for entry in entries)
            rows.append((ROW_NAMES.get(name, name), *cells))
    rows += [(title, *_flat((stage[name], "") for stage in stages)) for name, title in TOTALS.items()]
    rows.append(("AP50", *_flat(("", stage["AP50"]) for stage in stages)))
    return text_table(rows, min_width=7)


_flat = itertools.chain.from_iterable  # joins the two cells of each stage into one row
