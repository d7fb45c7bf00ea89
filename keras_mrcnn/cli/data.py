"""`keras-mrcnn data`: make a data set, check one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from keras_mrcnn.cli.locations import EXISTING_FOLDER, FOLDER, images_of


@click.group()
def data():
    """Make or check data sets in COCO format."""


@data.command()
@click.argument("folder", type=FOLDER)
@click.option("--train", "num_train", type=click.IntRange(1), default=3000, help="How many training scenes.")
@click.option("--val", "num_val", type=click.IntRange(1), default=150, help="How many validation scenes.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Another seed gives other scenes.")
@click.option("--overwrite", is_flag=True, help="Replace scenes that were made with other parameters.")
def scenes(folder, num_train, num_val, seed, overwrite):
    """Draw scenes of vehicles, people and animals into FOLDER.

    The same numbers and seed give the same scenes; where FOLDER holds them already, nothing is done.
    """
    from tqdm import tqdm

    from keras_mrcnn.data.scenes import generate_scenes

    with tqdm(total=num_train + num_val, desc="scenes", unit="scene", leave=False, disable=None) as bar:
        made = generate_scenes(
            folder, num_train=num_train, num_val=num_val, seed=seed, progress=bar, overwrite=overwrite
        )
    click.echo(made)


@data.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--images", type=EXISTING_FOLDER, help="Folder with the images, where its name does not tell.")
@click.pass_context
def check(ctx, path, images):
    """List every problem of a data set; exit status 1 if there is any.

    PATH is a COCO annotation file, or a folder with annotations/*.json and images/.
    """
    files = sorted(path.glob("annotations/*.json")) if path.is_dir() else [path]
    if not files:
        raise click.UsageError(f"{path}: has no annotations/*.json; name the annotation file itself")
    if path.is_dir() and images is not None and len(files) > 1:
        raise click.UsageError(f"{path}: has {len(files)} annotation files; check them one by one to use --images")
    found = [_check_file(annotations, images or images_of(annotations)) for annotations in files]
    if sum(found):
        ctx.exit(1)


def _check_file(annotations, images):
    """Prints what is wrong with one annotation file and its images; returns how many problems there are."""
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
