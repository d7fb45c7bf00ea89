"""`keras-mrcnn evaluate`: scores each stage of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.stage_names import IOU_TYPES, SCORED_PARTS
from keras_mrcnn.cli.locations import (
    EXISTING_FILE,
    EXISTING_FOLDER,
    FILE,
    WEIGHTS,
    load_model,
    run_config,
    split_files,
    write_results,
)
from keras_mrcnn.cli.tensorflow_start import import_tensorflow

if TYPE_CHECKING:
    from keras_mrcnn.config import ModelConfig
    from keras_mrcnn.data.coco import CocoDataset


def _stages(ctx, param, value):
    stages = tuple(stage.strip() for stage in value.split(",") if stage.strip())
    unknown = [stage for stage in stages if stage not in SCORED_PARTS]
    if unknown or not stages:
        raise click.BadParameter(f"{value!r}: name one or more of {', '.join(SCORED_PARTS)}, with commas between")
    return stages


@click.command()
@click.argument("weights", type=WEIGHTS, required=False)
@click.option("--weights", "weights_option", type=WEIGHTS, help="The same as WEIGHTS.")
@click.option("--data", type=EXISTING_FOLDER, help="Folder with annotations/val.json and images/val, or prepared.")
@click.option("--annotations", type=EXISTING_FILE, help="COCO annotation file.")
@click.option("--images", type=EXISTING_FOLDER, help="Folder with its images.")
@click.option(
    "--detections",
    "parts",
    type=EXISTING_FOLDER,
    help="Score these detections, the folder of `predict --format parquet` or jsonl, instead of running a model.",
)
@click.option("--stages", default=",".join(SCORED_PARTS), callback=_stages, help="Which stages to score.")
@click.option("--json", "metrics_file", type=FILE, help="Write the scores there too.")
@click.option("--results", "results_file", type=FILE, help="Write the detections there, as COCO results.")
@click.option("--errors", is_flag=True, help="Sort the mistakes of boxes and masks by kind, with the AP50 each costs.")
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    help="The most images of one size that go through the network at once; scores do not depend on it.  "
    "[default: data.eval_batch_size of a run folder, 1 for a weight file]",
)
def evaluate(
    weights: Path | None,
    weights_option: Path | None,
    data: Path | None,
    annotations: Path | None,
    images: Path | None,
    parts: Path | None,
    stages: tuple[str, ...],
    metrics_file: Path | None,
    results_file: Path | None,
    errors: bool,
    batch_size: int | None,
) -> None:
    """Score a model on a COCO data set: RPN, boxes and masks.

    WEIGHTS is a weight file, the folder of a run, or a name that `weights list` prints. The data are those of --data,
    or of --annotations and --images; of a run folder, by default, its validation data. Classes belong together by
    name; those that only the model or only the data have are not scored. With --detections, images belong together by
    their ids, and there is no RPN to score.
    """
    if sum(source is not None for source in (weights, weights_option, parts)) != 1:
        raise click.UsageError("name one weight file or run folder, or --detections")
    weights = weights or weights_option
    annotations, images = _data_files(weights, data, annotations, images)
    for option, value in {"--detections": parts, "--results": results_file, "--errors": errors}.items():
        if value and stages == ("rpn",):
            raise click.UsageError(f"the RPN alone finds no objects for {option}; score box or mask too")

    import_tensorflow()
    from keras_mrcnn.evaluation.error_tables import format_errors
    from keras_mrcnn.evaluation.evaluator import evaluate_model
    from keras_mrcnn.evaluation.tables import format_table, write_json

    if parts:
        dataset, scores, results = _score_parts(parts, annotations, images, stages)
    else:
        config = run_config(weights)
        batch_size = batch_size or (config.data.eval_batch_size if config else 1)
        model = load_model(weights)
        dataset = open_dataset(annotations, images, model.config)
        scores, results = evaluate_model(model, dataset, stages, batch_size=batch_size)
    click.echo(format_table(scores))
    if errors:
        scores["errors"] = _errors(dataset, results, stages)
        click.echo("\n" + format_errors(scores["errors"]))
    if metrics_file:
        write_json(metrics_file, scores)
    if results_file:
        write_results(results_file, results)


def _data_files(weights, data, annotations, images):
    """Returns the annotation file and the image folder, from the options or from the run."""
    if data is not None and (annotations or images):
        raise click.UsageError("give either --data, or --annotations and --images")
    if data is not None:
        files = split_files(data, "val")
        if not files[0].exists():
            raise click.UsageError(f"{data}: has no annotations/val.json; name the files with --annotations FILE "
                                   "--images FOLDER")
        return files
    if annotations and images:
        return annotations, images
    if annotations or images:
        raise click.UsageError("--annotations and --images go together")
    config = weights and run_config(weights)
    if config and config.data.val_annotations:
        return config.data.val_annotations, config.data.val_images
    raise click.UsageError("on which data? Name their folder with --data, or use --annotations and --images")


def _score_parts(parts, annotations, images, stages):
    """Returns the data set, the scores of detections in parts on it, and these as COCO results."""
    from keras_mrcnn.batch.coco import results_of
    from keras_mrcnn.batch.parts import read_manifest
    from keras_mrcnn.config import ModelConfig
    from keras_mrcnn.evaluation.coco_metrics import evaluate_detections

    names = tuple(category["name"] for category in read_manifest(parts)["categories"])
    dataset = open_dataset(annotations, images, ModelConfig(class_names=names))
    results = results_of(parts, dict(zip(dataset.class_names, dataset.category_ids)))
    ids = dataset.image_ids, dataset.category_ids
    scores = {
        stage: evaluate_detections(dataset.coco, results, iou_type, *ids)
        for stage, iou_type in IOU_TYPES.items()
        if stage in stages
    }
    return dataset, scores, results


def _errors(dataset, results, stages):
    """Returns the errors of boxes and masks by stage, for the stages that were scored; see `analyse_errors`."""
    from keras_mrcnn.evaluation.errors import analyse_errors

    return {
        stage: analyse_errors(dataset.coco, results, iou_type, dataset.image_ids, dataset.category_ids)
        for stage, iou_type in IOU_TYPES.items()
        if stage in stages
    }


def open_dataset(annotations: Path, images: Path | None, config: ModelConfig) -> CocoDataset:
    """Opens a data set with the classes that the model knows, and prints the classes that only one of the two has.

    Args:
        annotations: COCO annotation file, or folder of prepared data.
        images: folder with the images of a COCO file.
        config: `ModelConfig` of the model.

    Raises:
        UserError: the data set has no images, or no class of the model.
    """
    from keras_mrcnn.config import NO_CLASS
    from keras_mrcnn.data import prepared

    dataset = prepared.open_dataset(annotations, images, channels=config.channels)
    if not len(dataset):
        raise UserError(f"{annotations}: has no images to evaluate on")
    known = [name for name in dict.fromkeys(config.class_names) if name != NO_CLASS]
    both = [name for name in known if name in dataset.class_names]
    if not both:
        raise UserError(
            f"{annotations}: has the classes {', '.join(dataset.class_names)}, the model {', '.join(known)}; evaluate "
            "on data that have some of the model's"
        )
    unknown = [name for name in dataset.class_names if name not in {*both, NO_CLASS}]
    absent = [name for name in known if name not in both]
    for sentence, names in (("The model does not know", unknown), ("The data do not have", absent)):
        if names:
            click.echo(f"{sentence} {len(names)} classes, which are not scored: {', '.join(names)}.", err=True)
    if len(both) == len(dataset.class_names):
        return dataset
    return prepared.open_dataset(annotations, images, both, config.channels)
