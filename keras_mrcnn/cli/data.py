"""`keras-mrcnn data`: makes data sets, checks them and draws them as training sees them; `data_*` has the rest."""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from pathlib import Path

import click

from keras_mrcnn.base.atomic_files import atomic_write
from keras_mrcnn.cli.data_convert import convert
from keras_mrcnn.cli.data_prepare import prepare, print_left_out
from keras_mrcnn.cli.data_split import split as split_command
from keras_mrcnn.cli.data_stats import stats
from keras_mrcnn.cli.data_suspects import suspects
from keras_mrcnn.cli.locations import (
    EXISTING_FILE,
    EXISTING_FOLDER,
    FILE,
    FOLDER,
    PRESET_NAMES,
    find_annotations,
    images_of,
)
from keras_mrcnn.cli.tensorflow_start import import_tensorflow


def _png(ctx, param, value):
    if value.suffix.lower() != ".png":
        raise click.BadParameter(f"{value}: the pictures are written as PNG, so name a file that ends in .png")
    return value


@click.group()
def data() -> None:
    """Make, convert, prepare, split, describe, check or show data sets, or search them for label errors."""


for command in (convert, prepare, split_command, stats, suspects):
    data.add_command(command)


@data.command()
@click.argument("folder", type=FOLDER)
@click.option("--train", "num_train", type=click.IntRange(1), default=3000, help="How many training scenes.")
@click.option("--val", "num_val", type=click.IntRange(1), default=150, help="How many validation scenes.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Another seed gives other scenes.")
@click.option("--overwrite", is_flag=True, help="Replace scenes that were made with other parameters.")
def scenes(folder: Path, num_train: int, num_val: int, seed: int, overwrite: bool) -> None:
    """Draw scenes of vehicles, people and animals into FOLDER.

    The same numbers and seed give the same scenes; where FOLDER holds them already, nothing is done.
    """
    from tqdm import tqdm

    from keras_mrcnn.scenes.generator import generate_scenes

    with tqdm(total=num_train + num_val, desc="scenes", unit="scene", leave=False, disable=None) as bar:
        made = generate_scenes(
            folder, num_train=num_train, num_val=num_val, seed=seed, progress=bar, overwrite=overwrite
        )
    click.echo(made)


@data.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--images", type=EXISTING_FOLDER, help="Folder with the images, where its name does not tell.")
@click.pass_context
def check(ctx: click.Context, path: Path, images: Path | None) -> None:
    """List every problem of a data set; exit status 1 if there is any.

    PATH is a COCO annotation file, or a folder with annotations/*.json and images/. Of a folder that `data prepare` has
    written, every shard is compared with its SHA-256.
    """
    if (path / "manifest.json").is_file():
        _check_prepared(path)
        return
    files = sorted(path.glob("annotations/*.json")) if path.is_dir() else [path]
    if not files:
        raise click.UsageError(f"{path}: has no annotations/*.json; name the annotation file itself")
    if path.is_dir() and images is not None and len(files) > 1:
        raise click.UsageError(f"{path}: has {len(files)} annotation files; check them one by one to use --images")
    counts = [_check_file(annotations, images or images_of(annotations)) for annotations in files]
    if sum(counts):
        ctx.exit(1)


def _check_prepared(folder):
    """Prints that no shard of prepared data is damaged; raises the `DataError` that names one that is."""
    import_tensorflow()
    from keras_mrcnn.data.prepared import PreparedDataset

    data = PreparedDataset(folder)
    data.check()
    manifest = data.manifest
    click.echo(f"{folder}: no problems: {manifest['images']} images in {len(manifest['shards'])} shards")


def _check_file(annotations, images):
    """Prints the problems of one annotation file and its images, and returns how many there are."""
    from tqdm import tqdm

    from keras_mrcnn.data.check import check_dataset
    from keras_mrcnn.data.coco import load_annotations

    with tqdm(desc=annotations.name, unit="image", leave=False, disable=None) as bar:

        def show(done, total):
            bar.total = total
            bar.update(done - bar.n)

        problems = check_dataset(annotations, images, show)
    for problem in problems:
        click.echo(problem)
    if problems:
        kinds = Counter(problem.kind for problem in problems)
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        click.echo(f"{annotations}: {len(problems)} problems ({counts})")
        return len(problems)
    content = load_annotations(annotations)
    objects = sum(not annotation.get("iscrowd", 0) for annotation in content["annotations"])
    click.echo(
        f"{annotations}: no problems: {len(content['images'])} images, {objects} objects, "
        f"{len(content['categories'])} classes"
    )
    return 0


@data.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=FILE, required=True, callback=_png, help="PNG file for the pictures.")
@click.option("--split", default="train", help="Which annotations of the folder.")
@click.option("--images", type=EXISTING_FOLDER, help="Folder with the images, where its name does not tell.")
@click.option("--count", type=click.IntRange(1, 100), default=12, help="How many images.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the order of the images and their augmentation.")
@click.option("--config", type=EXISTING_FILE, help="Settings as YAML.")
@click.option(
    "--preset",
    metavar="NAME",
    help=f"Settings that come with the package: {PRESET_NAMES}.  [default: coco-r50-fpn]",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change one setting; can be repeated.")
@click.option("--skip-bad", is_flag=True, help="Leave out and count what the check finds, instead of stopping.")
def show(
    path: Path,
    out: Path,
    split: str,
    images: Path | None,
    count: int,
    seed: int,
    config: Path | None,
    preset: str | None,
    settings: tuple[str, ...],
    skip_bad: bool,
) -> None:
    """Draw images as training sees them, augmented, with their ground truth.

    PATH is a COCO annotation file, a folder with annotations/SPLIT.json and images/SPLIT, or one that `data prepare`
    has written. Augmentation is set as for training, for example with --set data.rotation=15 --set data.copy_paste=0.5.
    """
    if config and preset:
        raise click.UsageError("give either --config FILE or --preset NAME")
    annotations = path if path.is_file() else _annotations_of(path, split)

    import_tensorflow()
    from PIL import Image

    from keras_mrcnn.config import PRESETS, load_config
    from keras_mrcnn.visualize import contact_sheet

    if preset is not None and preset not in PRESETS:
        raise click.BadParameter(f"there is no {preset}; choose one of {', '.join(PRESETS)}", param_hint="--preset")
    if skip_bad:
        settings = (*settings, "data.skip_bad=true")
    resolved = load_config(config or preset or "coco-r50-fpn", (*settings, f"train.seed={seed}"))
    pictures, objects, dropped = [], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        dataset = _opened(annotations, images, count, seed, Path(folder), resolved)
        for picture, num_objects, num_dropped in itertools.islice(_augmented(dataset, resolved), count):
            pictures.append(picture)
            objects += num_objects
            dropped += num_dropped
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(out) as temporary:
        Image.fromarray(contact_sheet(pictures, columns=4)).save(temporary, format="PNG")
    click.echo(f"Drew {len(pictures)} images with {objects} objects ({dropped} dropped) into {out}.")


def _annotations_of(folder, split):
    """Returns the annotation file of a split of a folder, or the folder of prepared data."""
    for prepared in (folder, folder / split):
        if (prepared / "manifest.json").is_file():
            return prepared
    annotations = find_annotations(folder, split)
    if annotations is None:
        raise click.UsageError(f"{folder}: has no annotations/{split}.json; name the annotation file itself")
    return annotations


def _opened(annotations, images, count, seed, folder, config):
    """Opens prepared data; of other data, prepares `count` images, chosen at random, in a folder."""
    import numpy as np

    from keras_mrcnn.data.coco import load_annotations
    from keras_mrcnn.data.prepare import prepare_dataset
    from keras_mrcnn.data.prepared import PreparedDataset, is_prepared
    from keras_mrcnn.data.records import annotation_fault, image_fault

    if is_prepared(annotations):
        return PreparedDataset(annotations, config.data.class_names, config.model.channels)
    content = load_annotations(annotations)
    rows = sorted(np.random.default_rng(seed).permutation(len(content["images"]))[:count])
    chosen = [content["images"][row] for row in rows]
    ids = {image["id"] for image in chosen if not image_fault(image)}
    # What is malformed stays, for the check to name it.
    objects = [one for one in content["annotations"] if annotation_fault(one) or one["image_id"] in ids]
    content = {**content, "images": chosen, "annotations": objects}
    settings = {"mask_size": config.data.mask_size, "skip_bad": config.data.skip_bad}
    made = prepare_dataset(content, images or images_of(annotations), folder, **settings)
    print_left_out(annotations, made.manifest)
    return PreparedDataset(folder, config.data.class_names, config.model.channels)


def _augmented(dataset, config):
    """Yields each image of the training stream, drawn, and how many objects it has and how many were dropped."""
    from keras_mrcnn.base.records import GroundTruth
    from keras_mrcnn.data.augmentation_samples import Sampling
    from keras_mrcnn.data.batching import planned_batches
    from keras_mrcnn.data.pipeline import sampled_batches
    from keras_mrcnn.ops.images import denormalise
    from keras_mrcnn.visualize import draw_ground_truth

    plan = planned_batches(dataset.image_sizes, 1, config.train.seed)
    for batch in sampled_batches(dataset, plan, 1, Sampling.of(config)).as_numpy_iterator():
        height, width = batch["image_sizes"][0]
        valid = batch["gt_labels"][0] > 0
        boxes, labels, masks = (batch[name][0][valid] for name in ("gt_boxes", "gt_labels", "gt_masks"))
        names = tuple(dataset.class_names[label - 1] for label in labels)
        truth = GroundTruth(boxes, labels, masks, names, (height, width))
        image = denormalise(batch["images"][0, :height, :width]).numpy()
        yield draw_ground_truth(image, truth), len(truth), int(batch["dropped"][0])
