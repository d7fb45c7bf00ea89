"""`keras-mrcnn report`: writes one HTML file about a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.stage_names import SCORED_PARTS
from keras_mrcnn.cli.evaluate import open_dataset
from keras_mrcnn.cli.locations import EXISTING_FOLDER, FILE, load_model, split_files
from keras_mrcnn.cli.tensorflow_start import import_tensorflow

# The parts of the report that need a finished model and data to evaluate it on.
EVALUATED = ("curves", "confusion", "errors", "pictures")
# The parts that the scores of the training can fill as well.
SECTION_TITLES = {"rpn": {"rpn": "RPN"}, "scores": {"box": "box head", "mask": "mask head"}}


@click.command()
@click.argument("run", type=EXISTING_FOLDER)
@click.option(
    "--data",
    type=EXISTING_FOLDER,
    help="Folder with annotations/val.json and images/val, and where there are any those of train, instead of the "
    "run's own data.",
)
@click.option("--out", type=FILE, help="The file to write.  [default: RUN/report.html]")
@click.option("--images", type=click.IntRange(0), default=4, help="How many of the best and of the worst pictures.")
@click.option("--suspects", type=EXISTING_FOLDER, help="Folder that `data suspects` wrote, to include its pictures.")
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    help="The most images of one size that go through the network at once; scores do not depend on it.  "
    "[default: data.eval_batch_size of the run]",
)
def report(
    run: Path, data: Path | None, out: Path | None, images: int, suspects: Path | None, batch_size: int | None
) -> None:
    """Write one HTML file about a run: scores, pictures, mistakes, losses, data and settings.

    RUN is the folder that `train` wrote. Its model is evaluated on the validation data, and what every stage makes of
    the best and the worst pictures is shown. What a run does not have yet is named in the report.
    """
    import_tensorflow()
    from keras_mrcnn.evaluation.evaluator import evaluate_model
    from keras_mrcnn.report import (
        Evaluation,
        best_and_worst,
        data_statistics,
        read_run,
        score_pictures,
        suspect_panels,
        write_report,
    )

    record, missing = read_run(run), {}
    errors = suspect_panels(suspects) if suspects else None
    datasets = _datasets(record, data, missing)
    statistics = {split: data_statistics(dataset, record.config.model) for split, dataset in datasets.items()}
    evaluation, best, worst = None, [], []
    if record.weights is not None and "val" in datasets:
        model, dataset = load_model(record.weights), datasets["val"]
        batch_size = batch_size or record.config.data.eval_batch_size
        evaluation = Evaluation(dataset, *evaluate_model(model, dataset, SCORED_PARTS, batch_size=batch_size))
        chosen = best_and_worst(score_pictures(dataset, evaluation.results), images)
        best, worst = _picture_views(model, dataset, chosen)
    _name_missing(record, datasets, evaluation, best or worst, missing)
    path = write_report(
        record,
        out or run / "report.html",
        statistics=statistics,
        evaluation=evaluation,
        best=best,
        worst=worst,
        suspects=errors,
        missing=missing,
    )
    click.echo(f"Wrote the report to {path}.")


def _datasets(run, folder, missing):
    """Opens the data sets of the splits; where the run's own cannot be opened, `missing` says why."""
    from keras_mrcnn.report.data_section import SPLIT_TITLES

    datasets, sentences = {}, []
    for split, title in SPLIT_TITLES.items():
        annotations, images = _files(run.config.data, folder, split)
        if folder is not None:
            if annotations.exists():
                datasets[split] = open_dataset(annotations, images, run.config.model)
            elif split == "val":
                raise UserError(f"{folder}: has no annotations/val.json; name a folder with validation data")
            else:
                sentences.append(f"{folder} has no training data.")
        elif not annotations:
            sentences.append(f"The settings of the run name no {title} data; name their folder with --data.")
        else:
            try:
                datasets[split] = open_dataset(annotations, images, run.config.model)
            except UserError as error:
                sentences.append(f"The {title} data cannot be read: {error}, or name their folder with --data.")
    if sentences:
        missing["data"] = " ".join(sentences)
    return datasets


def _files(settings, folder, split):
    """Returns the annotation file and the image folder of a split; None or empty where the run names none."""
    if folder is not None:
        return split_files(folder, split)
    return getattr(settings, f"{split}_annotations"), getattr(settings, f"{split}_images")


def _picture_views(model, dataset, chosen):
    """Returns the panels of the pictures in each list that `best_and_worst` chose."""
    import numpy as np
    from tqdm import tqdm

    from keras_mrcnn.inspection import inspect_stages
    from keras_mrcnn.report import picture_panels

    def views(score):
        image, objects = dataset.load_image(score.image_id), dataset.ground_truth(score.image_id)
        # The model may know more classes than the data, or in another order.
        labels = np.array([model.config.class_names.index(name) + 1 for name in objects.class_names], np.int32)
        outputs = inspect_stages(model, image, dataclasses.replace(objects, labels=labels))
        bar.update()
        return picture_panels(Path(dataset.file_name(score.image_id)).name, score, outputs)

    with tqdm(desc="pictures", total=sum(map(len, chosen)), unit="picture", disable=None, leave=False) as bar:
        return [[views(score) for score in scores] for scores in chosen]


def _name_missing(run, datasets, evaluation, has_pictures, missing):
    """Adds to `missing` why a part of the report is missing."""
    why = "the training is not finished" if run.weights is None else "there are no validation data"
    if not datasets:
        missing["anchors"] = "This takes annotations, and there are no data."
    if not run.losses:
        missing["training"] = "There are no losses in the run's folder logs: no epoch has ended yet."
    elif run.weights is None:
        missing["training"] = "The training is not finished: the run has no model.safetensors."
    if evaluation is None:
        for part, titles in SECTION_TITLES.items():
            absent = [title for stage, title in titles.items() if stage not in run.metrics]
            if absent:
                missing[part] = f"There are no scores of the {' and the '.join(absent)} in metrics.json, and {why}."
        for part in EVALUATED:
            missing[part] = f"This takes a finished model and validation data, and {why}."
    elif not has_pictures:
        missing["pictures"] = "No pictures were asked for, or there is no object in any."
