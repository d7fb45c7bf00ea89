"""A report with everything in it, made without a model."""

from __future__ import annotations

import numpy as np
from report.made_runs import make_dataset, make_evaluation, make_run
from visualize.made_outputs import make_views

from keras_mrcnn.report import PictureScore, SuspectPanels, data_statistics, picture_panels, read_run, write_report
from keras_mrcnn.report.panels import picture_panel


def write_full_report(folder):
    """Writes folder/run/report.html and returns its path."""
    dataset = make_dataset()
    evaluation = make_evaluation(dataset)
    run = read_run(make_run(folder / "run", metrics=evaluation.scores))
    statistics = {split: data_statistics(dataset, run.config.model) for split in ("train", "val")}
    best, worst = (
        [picture_panels(name, PictureScore(3, quality, 2, 0, 0), make_views())]
        for name, quality in (("best.jpg", 1.0), ("worst.jpg", 0.25))
    )
    sheet = picture_panel("Missing objects: 3", "Missing objects", np.zeros((80, 120, 3), np.uint8))
    suspects = SuspectPanels("images", 4, "2 models", (sheet,))
    out = run.path / "report.html"
    return write_report(
        run, out, statistics=statistics, evaluation=evaluation, best=best, worst=worst, suspects=suspects
    )
