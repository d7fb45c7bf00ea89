"""Writes the page: collects the content of each part and fills the template."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import jinja2
import yaml

from keras_mrcnn import __version__
from keras_mrcnn.base.atomic_files import atomic_write
from keras_mrcnn.base.stage_names import IOU_TYPES
from keras_mrcnn.base.tables import format_value, is_missing
from keras_mrcnn.evaluation.curves import confusion_matrix, precision_recall_curves
from keras_mrcnn.evaluation.errors import analyse_errors
from keras_mrcnn.report import charts, data_section, score_sections, tables
from keras_mrcnn.report.confusions import confusion_heatmap, confusion_table
from keras_mrcnn.report.panels import PicturePanels
from keras_mrcnn.report.run_folder import RunFolder
from keras_mrcnn.report.score_sections import Evaluation
from keras_mrcnn.report.statistics import ModelStatistics
from keras_mrcnn.report.suspects_section import SuspectPanels

# The parts of the page in their order: name of the HTML anchor -> title. That of label errors is there on request.
SECTIONS = {
    "scores": "Boxes and masks",
    "pictures": "Best and worst pictures",
    "curves": "Precision and recall",
    "confusion": "Confusions",
    "errors": "Mistakes",
    "rpn": "Region proposals",
    "training": "Training",
    "data": "Data",
    "suspects": "Label errors",
    "anchors": "Anchors and objects",
    "config": "Settings",
}


def write_report(
    run: RunFolder,
    out: Path,
    *,
    statistics: Mapping[str, ModelStatistics],
    evaluation: Evaluation | None = None,
    best: Sequence[PicturePanels] = (),
    worst: Sequence[PicturePanels] = (),
    suspects: SuspectPanels | None = None,
    missing: Mapping[str, str] | None = None,
) -> Path:
    """Writes the report as one self-contained HTML file, which appears complete or not at all.

    Args:
        run: the run, from `read_run`.
        out: the file to write.
        statistics: dict of split, "train" or "val", to its statistics; either may be absent.
        evaluation: results of the finished model on the validation data; by default the scores are those of the
            training.
        best, worst: pictures with their panels.
        suspects: what is probably wrong in the annotations, from `suspect_panels`; without it that part is left out.
        missing: dict of a part of `SECTIONS` that is not complete to a sentence that says why.

    Returns:
        `out`.
    """
    content = {
        "run": run,
        "version": __version__,
        "written": datetime.now().strftime("%Y-%m-%d %H:%M"),
        "sections": {name: title for name, title in SECTIONS.items() if suspects or name != "suspects"},
        "suspects": suspects,
        "missing": {name: missing[name] for name in SECTIONS if missing and name in missing},
        "geometry": charts,
        **_settings_part(run),
        **_data_part(run, statistics),
        **_training_part(run),
        **_score_part(run, evaluation),
        "pictures": {"Worst": worst, "Best": best} if best or worst else {},
    }
    return _write(Path(out), _environment().get_template("template.html").render(content))


def _settings_part(run: RunFolder) -> dict:
    """Returns the settings as YAML."""
    settings = run.config.model_dump(mode="json")
    return {"settings": yaml.safe_dump(settings, sort_keys=False, default_flow_style=None, width=100)}


def _data_part(run: RunFolder, statistics: Mapping[str, ModelStatistics]) -> dict:
    """Returns the tables and charts of the data and the anchors."""
    if not statistics:
        return {"splits": None}
    model = run.config.model
    # Anchors are chosen for the training data, which also has most of the objects.
    split, fitted = next(iter(statistics.items()))
    return {
        "splits": data_section.split_table(statistics),
        "class_objects": data_section.class_table(statistics),
        "data_charts": data_section.data_charts(statistics, model),
        "anchor_split": data_section.SPLIT_TITLES[split],
        "anchor_sizes": model.anchor_sizes,
        "anchor_tables": data_section.anchor_tables(fitted, model) if len(fitted.labels) else [],
        "anchor_chart": data_section.anchor_chart(fitted, model) if len(fitted.labels) else None,
    }


def _training_part(run: RunFolder) -> dict:
    """Returns the table of the stages and the charts of their losses."""
    return {"stages": score_sections.stage_table(run), "loss_charts": score_sections.loss_charts(run.losses)}


def _score_part(run: RunFolder, evaluation: Evaluation | None) -> dict:
    """Returns the scores and, if the model has been evaluated, its curves, confusions and mistakes."""
    scores = run.metrics if evaluation is None else evaluation.scores
    detected = [stage for stage in IOU_TYPES if stage in scores]
    curves, errors, objects = {}, {}, {}
    matrix = None
    if evaluation is not None:
        dataset = evaluation.dataset
        chosen = (dataset.image_ids, dataset.category_ids)
        for stage in detected:
            data = (dataset.coco, evaluation.results, IOU_TYPES[stage], *chosen)
            curves[stage] = precision_recall_curves(*data)
            errors[stage] = analyse_errors(*data)
        if detected:
            matrix = confusion_matrix(dataset.coco, evaluation.results, IOU_TYPES[detected[-1]], *chosen)
        labels = [item["category_id"] for image_id in dataset.image_ids for item in dataset.annotations(image_id)]
        objects = {name: labels.count(number) for name, number in zip(dataset.class_names, dataset.category_ids)}
    return {
        "evaluation": evaluation,
        "highlights": _highlights(scores),
        "rpn": score_sections.rpn_table(scores["rpn"]) if "rpn" in scores else None,
        "summary": score_sections.summary_table(scores) if detected else None,
        "class_ap": score_sections.class_ap_table(scores, curves, objects) if detected else None,
        "curve_charts": score_sections.precision_recall_charts(curves) if curves else [],
        "confusions": None if matrix is None else confusion_heatmap(matrix),
        "confusion_list": None if matrix is None else confusion_table(matrix),
        "confusion_of": detected[-1] if detected else None,
        "confusion_score": None if matrix is None else matrix.score_threshold,
        "mistakes": score_sections.error_table(errors) if errors else None,
    }


def _highlights(scores: Mapping) -> list[tuple[str, float]]:
    """Returns the titles and values of the scores at the top of the page."""
    highlights = (("mask", "AP", "mask AP"), ("mask", "AP50", "mask AP50"), ("box", "AP", "box AP"))
    highlights += (("rpn", "AR1000", "RPN recall (AR1000)"), ("rpn", "accuracy", "RPN point-wise accuracy"))
    return [(title, scores[stage].get(name)) for stage, name, title in highlights if stage in scores]


def _environment() -> jinja2.Environment:
    """Returns the Jinja environment of the template."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["format_value"] = functools.partial(format_value, missing="–")
    environment.filters["sort_key"] = tables.sort_key
    environment.tests["missing"] = is_missing
    environment.tests["numeric"] = tables.is_number
    return environment


def _write(out: Path, text: str) -> Path:
    """Writes the page and returns its path."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return out
