"""Tables and charts of the training, the scores and the mistakes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from keras_mrcnn.base.stage_names import IOU_TYPES
from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.evaluation.curves import PrecisionRecall
from keras_mrcnn.report.charts import Axis, Chart, Line, line_chart
from keras_mrcnn.report.run_folder import RunFolder, StageLosses
from keras_mrcnn.report.tables import Column, Table

STAGE_TITLES = {"rpn": "RPN", "box": "Box head", "mask": "Mask head", "joint": "All together"}
RPN_MEANINGS = {
    "accuracy": ("point-wise accuracy", "share of all labelled anchors that objectness classifies rightly"),
    "positive_accuracy": ("point-wise recall", "share of the positive anchors that objectness calls an object"),
    "negative_accuracy": ("of the negative anchors", "share that objectness calls background"),
    "AR100": ("AR100", "recall of the objects by the best 100 proposals of an image, mean over IoU 0.50 to 0.95"),
    "AR1000": ("AR1000", "likewise by the best 1000, or as many as the model keeps"),
}
AP_MEANINGS = {
    "AP": "average precision, mean over IoU 0.50, 0.55 ... 0.95 and over the classes",
    "AP50": "at IoU 0.50",
    "AP75": "at IoU 0.75",
    "AP_small": "of objects below 32² px",
    "AP_medium": "of 32² to 96² px",
    "AP_large": "above 96² px",
    "AR1": "average recall with one detection of each class in an image",
    "AR10": "with ten",
    "AR100": "with a hundred",
    "AR_small": "with a hundred, of objects below 32² px",
    "AR_medium": "of 32² to 96² px",
    "AR_large": "above 96² px",
}
ERROR_MEANINGS = {
    "class": ("wrong class", "in the place of an object of another class"),
    "location": ("wrong location", "of an object of its class, but the IoU is only 0.1 to 0.5"),
    "both": ("both wrong", "another class, and IoU 0.1 to 0.5"),
    "duplicate": ("duplicate", "of an object that a better detection has found"),
    "background": ("background", "IoU below 0.1 with every object"),
    "missed": ("missed", "objects that nothing finds, nor means with a wrong class or location"),
    "false_positives": ("all false positives", "all of the above but the missed"),
    "false_negatives": ("all false negatives", "all objects that are not found"),
}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Results of `evaluate_model` on a data set.

    Args:
        dataset: the data set.
        scores: dict of each scored stage, "rpn", "box" or "mask", to its scores.
        results: the detections in COCO's format.
    """

    dataset: CocoDataset
    scores: dict
    results: list[dict]


def stage_table(run: RunFolder) -> Table | None:
    """Returns a table of epochs, losses, time and memory of each stage, or None if no stage has been trained."""
    training = run.metrics.get("training", {})
    names = [stage for stage in STAGE_TITLES if stage in run.losses or stage in training]
    if not names:
        return None
    columns = [
        Column("stage"),
        Column("epochs"),
        Column("of", "epochs that the settings ask for"),
        Column("first loss", "mean over the first epoch"),
        Column("last loss", "mean over the last epoch"),
        Column("seconds", "from its start, or from where it was last resumed, to its end"),
        Column("peak memory, MB", "of the process, until the stage ended"),
    ]
    rows = [_stage_row(stage, run.losses.get(stage), training.get(stage, {}), run) for stage in names]
    return Table("The stages of the training", columns, rows)


def _stage_row(stage: str, losses: StageLosses | None, usage: Mapping, run: RunFolder) -> list:
    """Returns the values of one row of `stage_table`."""
    total = np.array([]) if losses is None else losses.values.get("loss", np.array([]))
    first, last = (float(total[0]), float(total[-1])) if len(total) else (None, None)
    epochs = None if losses is None else int(losses.epochs[-1])
    num_epochs = getattr(run.config.train, stage).epochs
    return [STAGE_TITLES[stage], epochs, num_epochs, first, last, usage.get("seconds"), usage.get("peak_memory_mb")]


def loss_charts(losses: Mapping[str, StageLosses]) -> list[Chart]:
    """Returns a chart of each stage's losses by epoch, their sum first."""
    charts = []
    for stage, record in losses.items():
        names = sorted(record.values, key=lambda name: (name != "loss", name))
        if len(names) == 2:
            names = ["loss"]  # a stage with a single loss only needs the sum
        lines = [
            Line("sum" if name == "loss" else name.replace("_loss", "").replace("_", " "), record.epochs, values, style)
            for style, (name, values) in enumerate((name, record.values[name]) for name in names)
        ]
        highest = np.nanmax(np.concatenate([line.y for line in lines] + [[0.0]]))
        first, last = int(record.epochs[0]), int(record.epochs[-1])
        spare = 0.5 if first == last else 0.0
        x_axis = Axis("epoch", first - spare, last + spare, is_whole=True)
        charts.append(line_chart(STAGE_TITLES[stage], lines, x_axis, Axis("loss", 0.0, max(1.05 * highest, 1e-9))))
    return charts


def rpn_table(scores: Mapping) -> Table:
    """Returns a table of the RPN's scores with their meanings."""
    rows = [[title, scores.get(name)] for name, (title, _) in RPN_MEANINGS.items()]
    notes = dict(RPN_MEANINGS.values())
    return Table("Scores of the RPN", [Column("measure"), Column("value", has_bars=True)], rows, notes=notes)


def summary_table(scores: Mapping) -> Table:
    """Returns a table of COCO's twelve numbers for boxes and masks."""
    stages = [stage for stage in IOU_TYPES if stage in scores]
    columns = [Column("measure"), *(Column(stage, has_bars=True) for stage in stages)]
    notes = {name.replace("_", " "): meaning for name, meaning in AP_MEANINGS.items()}
    rows = [[title, *(scores[stage].get(name) for stage in stages)] for title, name in zip(notes, AP_MEANINGS)]
    return Table("Average precision and recall", columns, rows, notes=notes)


def class_ap_table(scores: Mapping, curves: Mapping[str, PrecisionRecall], objects: Mapping[str, int]) -> Table:
    """Returns a table of the AP of each class, for boxes and masks.

    Args:
        scores: dict of stage name to scores.
        curves: dict of stage name to curves, from which AP50 and AP75 are read; stages without curves only have AP.
        objects: dict of class name to number of objects; without any, the column is left out.
    """
    stages = [stage for stage in IOU_TYPES if stage in scores]
    names = list(dict.fromkeys(name for stage in stages for name in scores[stage].get("per_class", {})))
    columns, values = [Column("class")], {name: [name] for name in names}
    if objects:
        columns.append(Column("objects"))
        for name in names:
            values[name].append(objects.get(name, 0))
    for stage in stages:
        kinds = ("AP", "AP50", "AP75") if stage in curves else ("AP",)
        columns += [Column(f"{stage} {kind}", has_bars=True) for kind in kinds]
        for name in names:
            values[name] += [scores[stage]["per_class"].get(name), *_ap_at_ious(curves.get(stage), name)]
    return Table("Average precision of each class", columns, list(values.values()))


def _ap_at_ious(curves: PrecisionRecall | None, name: str) -> list[float]:
    """Returns AP50 and AP75 of a class, NaN if it has no objects, or an empty list without curves."""
    if curves is None:
        return []
    row = curves.class_names.index(name)
    return [float(curves.precision50[row].mean()), float(curves.precision75[row].mean())]


def precision_recall_charts(curves: Mapping[str, PrecisionRecall]) -> list[Chart]:
    """Returns charts of precision by recall: one for the mean of all classes, then one for each class with objects."""
    names = next(iter(curves.values())).class_names
    charts = [_recall_chart("All classes", {stage: (curve, slice(None)) for stage, curve in curves.items()})]
    for row, name in enumerate(names if len(names) > 1 else ()):
        if not any(np.isnan(curve.precision50[row, 0]) for curve in curves.values()):
            charts.append(_recall_chart(name, {stage: (curve, [row]) for stage, curve in curves.items()}))
    return charts


def _recall_chart(title: str, chosen: Mapping) -> Chart:
    """Returns a chart of precision by recall; `chosen` maps stage names to curves and the rows to average."""
    lines = []
    for number, (stage, (curve, rows)) in enumerate(chosen.items()):
        for offset, iou in enumerate((50, 75)):
            precision = _mean_of_rows(getattr(curve, f"precision{iou}")[rows])
            lines.append(Line(f"{stage}, IoU 0.{iou}", curve.recall, precision, 2 * offset + number, marked=False))
    return line_chart(title, lines, Axis("recall", 0.0, 1.0), Axis("precision", 0.0, 1.0))


def _mean_of_rows(precision: np.ndarray) -> np.ndarray:
    """Returns the mean over the classes that have objects."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no class has objects
        return np.nanmean(precision, axis=0)


def error_table(errors: Mapping[str, Mapping]) -> Table:
    """Returns a table of the number of mistakes of each kind and what the kind costs."""
    columns = [Column("mistake")]
    for stage in errors:
        columns += [Column(f"{stage}: number"), Column(f"{stage}: AP50 cost", has_bars=True)]
    rows = []
    for part in ("kinds", "special"):
        for name in next(iter(errors.values()))[part]:
            entries = [of_stage[part][name] for of_stage in errors.values()]
            numbers = [value for entry in entries for value in (entry["count"], entry["AP50_cost"])]
            rows.append([ERROR_MEANINGS[name][0], *numbers])
    return Table("Mistakes at IoU 0.50", columns, rows, notes=dict(ERROR_MEANINGS.values()))
