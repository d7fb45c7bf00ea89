"""`keras-mrcnn data prepare`: checks a data set once and writes it ready for training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from keras_mrcnn.cli.annotation_source import read_source, source_options
from keras_mrcnn.cli.tensorflow_start import import_tensorflow


@click.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("out")
@source_options
@click.option("--mask-size", type=click.IntRange(1), default=56, help="Side of the stored masks, see data.mask_size.")
@click.option("--skip-bad", is_flag=True, help="Leave out and count what the check finds, instead of stopping.")
@click.option("--workers", type=click.IntRange(1), help="Processes that write.  [default: one for each core]")
def prepare(source: Path, out: str, mask_size: int, skip_bad: bool, workers: int | None, **options) -> None:
    """Check a data set once, and write it to OUT ready for training.

    SOURCE has annotations of any format that `data convert` reads; its splits become OUT/train, OUT/val and so on. OUT
    is a folder, or a URL such as gs://bucket/folder. The same command goes on where an interrupted one stopped, and
    does nothing where OUT holds the data already.
    """
    parts = read_source(source, **options)
    import_tensorflow()
    for split, part in parts.items():
        target = f"{out.rstrip('/')}/{split}" if split else out
        _prepare(part, target, f"{source}, {split}" if split else str(source), mask_size, skip_bad, workers)


def _prepare(part, out, name, mask_size, skip_bad, workers):
    """Prepares one split and prints what was written and left out."""
    from tqdm import tqdm

    from keras_mrcnn.data.prepare import prepare_dataset

    with tqdm(desc=f"prepare {out}", unit="image", leave=False, disable=None) as bar:

        def show(done, total):
            bar.total = total
            bar.update(done - bar.n)

        data = prepare_dataset(
            part.content,
            part.image_folder,
            out,
            mask_size=mask_size,
            skip_bad=skip_bad,
            workers=workers,
            progress=show,
            name=name,
        )
    manifest = data.manifest
    click.echo(
        f"{out}: {manifest['images']} images, {manifest['objects']} objects, {len(data.class_names)} classes in "
        f"{len(manifest['shards'])} shards, {sum(shard['bytes'] for shard in manifest['shards']) / 1e6:.0f} MB"
    )
    print_left_out(name, manifest)


def print_left_out(name: str | Path, manifest: Mapping[str, Any]) -> None:
    """Prints what the check has left out of prepared data, if anything."""
    if manifest["left_out"]:
        left_out = ", ".join(f"{count} {kind}" for kind, count in manifest["left_out"].items())
        click.echo(f"{name}: left out {left_out}", err=True)
