"""`keras-mrcnn data prepare`: checks a data set once and writes it ready for training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from keras_mrcnn.cli.locations import EXISTING_FOLDER, images_of, split_files
from keras_mrcnn.cli.tensorflow_start import import_tensorflow

SPLITS = ("train", "val")


@click.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("out")
@click.option("--images", type=EXISTING_FOLDER, help="Folder with the images, where its name does not tell.")
@click.option("--mask-size", type=click.IntRange(1), default=56, help="Side of the stored masks, see data.mask_size.")
@click.option("--skip-bad", is_flag=True, help="Leave out and count what the check finds, instead of stopping.")
@click.option("--workers", type=click.IntRange(1), help="Processes that write.  [default: one for each core]")
def prepare(source: Path, out: str, images: Path | None, mask_size: int, skip_bad: bool, workers: int | None) -> None:
    """Check a data set once, and write it to OUT ready for training.

    SOURCE is a COCO annotation file, or a folder with annotations/train.json, images/train and the same for val, whose
    splits become OUT/train and OUT/val. OUT is a folder, or a URL such as gs://bucket/folder. The same command goes on
    where an interrupted one stopped, and does nothing where OUT holds the data already.
    """
    if source.is_dir():
        files = {split: split_files(source, split) for split in SPLITS}
        jobs = [(*pair, f"{out.rstrip('/')}/{split}") for split, pair in files.items() if pair[0].is_file()]
        if not jobs:
            raise click.UsageError(f"{source}: has no annotations/train.json; name the annotation file itself")
        if images is not None:
            raise click.UsageError(f"{source}: is a folder; name its annotation files one by one to use --images")
    else:
        jobs = [(source, images or images_of(source), out)]
    import_tensorflow()
    for job in jobs:
        _prepare(*job, mask_size, skip_bad, workers)


def _prepare(annotations, images, out, mask_size, skip_bad, workers):
    """Prepares one annotation file and prints what was written and left out."""
    from tqdm import tqdm

    from keras_mrcnn.data.prepare import prepare_dataset

    with tqdm(desc=f"prepare {annotations.name}", unit="image", leave=False, disable=None) as bar:

        def show(done, total):
            bar.total = total
            bar.update(done - bar.n)

        data = prepare_dataset(
            annotations, images, out, mask_size=mask_size, skip_bad=skip_bad, workers=workers, progress=show
        )
    manifest = data.manifest
    click.echo(
        f"{out}: {manifest['images']} images, {manifest['objects']} objects, {len(data.class_names)} classes in "
        f"{len(manifest['shards'])} shards, {sum(shard['bytes'] for shard in manifest['shards']) / 1e6:.0f} MB"
    )
    print_left_out(annotations, manifest)


def print_left_out(annotations: Path, manifest: Mapping[str, Any]) -> None:
    """Prints what the check has left out of prepared data, if anything."""
    if manifest["left_out"]:
        left_out = ", ".join(f"{count} {kind}" for kind, count in manifest["left_out"].items())
        click.echo(f"{annotations}: left out {left_out}", err=True)
