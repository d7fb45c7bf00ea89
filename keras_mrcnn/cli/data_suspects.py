"""`keras-mrcnn data suspects`: ranks what is probably wrong in annotations."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.cli.annotation_source import read_source, source_options
from keras_mrcnn.cli.locations import EXISTING_FILE, FOLDER, PRESET_NAMES, WEIGHTS, load_model, run_config
from keras_mrcnn.cli.tensorflow_start import import_tensorflow

PRINTED = 5  # of each kind


@click.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("out", type=FOLDER)
@click.option("--folds", type=click.IntRange(2), help="Train that many models, each on the other folds; resumable.")
@click.option("--config", type=EXISTING_FILE, help="With --folds: settings as YAML.")
@click.option("--preset", metavar="NAME", help=f"With --folds: settings that come with the package: {PRESET_NAMES}.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="With --folds: change one setting.")
@click.option("--by", metavar="GROUP", help="With --folds: keep images together, as in `data split`.")
@click.option("--seed", type=click.IntRange(0), default=0, help="With --folds: of the folds.")
@click.option("--weights", type=WEIGHTS, help="Weight file, run folder, or name that `weights list` prints.")
@click.option("--detections", type=EXISTING_FILE, help="COCO results for these images, with their low scores.")
@click.option("--min-score", type=click.FloatRange(0, 1), default=0.1, help="List suspects from this score on.")
@click.option("--pictures", type=click.IntRange(0), default=24, help="How many of each kind to draw.")
@source_options
def suspects(
    source: Path,
    out: Path,
    folds: int | None,
    config: Path | None,
    preset: str | None,
    settings: tuple[str, ...],
    by: str | None,
    seed: int,
    weights: Path | None,
    detections: Path | None,
    min_score: float,
    pictures: int,
    **options,
) -> None:
    """Rank what is probably wrong in the annotations of SOURCE, and write lists and pictures into OUT.

    The kinds are missing objects, wrong classes, bad masks or boxes, and annotations without an object. What speaks
    against an annotation are detections: those of --folds, --weights or --detections. Models that were not trained on
    the same images see most, which --folds provides; one that was trained on them has learnt some of the errors.
    """
    if sum(option is not None for option in (folds, weights, detections)) != 1:
        raise click.UsageError("give one of --folds, --weights and --detections")
    if folds is None and (config or preset or settings or by):
        raise click.UsageError("--config, --preset, --set and --by go with --folds")
    if folds is not None and (config is None) == (preset is None):
        raise click.UsageError("give either --config FILE or --preset NAME with --folds")
    (part,) = read_source(source, **options, only_one=True).values()
    from keras_mrcnn.data.coco import CocoDataset
    from keras_mrcnn.suspects import format_suspects, rank_suspects, suspect_rows, write_suspects

    dataset = CocoDataset(part.content, part.image_folder)
    if not len(dataset):
        raise UserError(f"{source}: has no images to examine")
    category_ids = None
    if folds is not None:
        origin = f"{folds} models, each trained without the images that it examined"
        results, category_ids = _cross_validated(part, out, folds, by, seed, config or preset, settings)
    elif weights is not None:
        origin = f"the model {weights}"
        results, category_ids = _detected(part, weights)
    else:
        origin, results = str(detections), _read(detections, dataset)
    _tell_unknown(dataset, category_ids)
    ranking = rank_suspects(dataset.coco, results, category_ids=category_ids, min_score=min_score)
    written = write_suspects(out, ranking, dataset, origin, pictures)
    click.echo(format_suspects(suspect_rows(ranking, dataset), PRINTED))
    click.echo(f"Wrote {', '.join(written)} into {out}.")


def _cross_validated(part, out, folds, by, seed, source, settings):
    """Returns the detections of models that did not see the images, and the ids of the categories that they know."""
    import_tensorflow()
    from keras_mrcnn.config import load_config
    from keras_mrcnn.evaluation.tables import format_table
    from keras_mrcnn.suspects.cross_validation import cross_validate

    config, place = load_config(source, settings), (part.content, part.image_folder)
    verbose = 1 if sys.stdout.isatty() else 2
    of_folds = cross_validate(*place, config, out, folds=folds, by=by, seed=seed, verbose=verbose)
    for number, detected in enumerate(of_folds, start=1):
        click.echo(f"\nModel {number} on fold {number}, as it is annotated:\n{format_table(detected.scores)}")
    click.echo()
    return [result for detected in of_folds for result in detected.results], of_folds[0].category_ids


def _detected(part, weights):
    """Returns the detections of a model, and the ids of the categories that it knows."""
    import_tensorflow()
    from keras_mrcnn.suspects.cross_validation import detect

    config = run_config(weights)
    batch_size = config.data.eval_batch_size if config else 1
    detected = detect(load_model(weights), part.content, part.image_folder, batch_size)
    return detected.results, detected.category_ids


def _tell_unknown(dataset, category_ids):
    """Prints the classes that the model does not know."""
    names = dict(zip(dataset.category_ids, dataset.class_names))
    unknown = [name for number, name in names.items() if category_ids is not None and number not in category_ids]
    if unknown:
        click.echo(f"The model does not know {', '.join(unknown)}, so their annotations are not judged.", err=True)


def _read(path, dataset):
    """Returns the COCO results of a file for the images of a data set; refuses those that are malformed."""
    from keras_mrcnn.data.records import field_fault, is_box, is_id, is_number

    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}); write it again") from None
    if not isinstance(results, list):
        raise UserError(f"{path}: is no list of COCO results; `keras-mrcnn evaluate --results` writes one")
    fields = {"image_id": is_id, "category_id": is_id, "bbox": is_box, "score": is_number}
    for number, result in enumerate(results, start=1):
        fault = field_fault(result, fields) or _mask_fault(result, dataset)
        if fault:
            raise UserError(f"{path}: result {number} {fault}; write it again")
    return results


def _mask_fault(result, dataset):
    """Returns what is wrong with the mask of a result, or None; it must be a compressed run-length code."""
    from keras_mrcnn.data.segmentations import malformed_segmentation

    code, image = result.get("segmentation"), dataset.coco.imgs.get(result["image_id"])
    if code is None or image is None:
        return None
    if not isinstance(code, dict) or not isinstance(code.get("counts"), str):
        return "has a segmentation that is no compressed run-length code"
    fault = malformed_segmentation(code, image["height"], image["width"])
    return f"has a segmentation that cannot be used ({fault})" if fault else None
