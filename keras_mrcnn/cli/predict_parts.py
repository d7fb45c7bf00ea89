"""`keras-mrcnn predict --format parquet`: detections in any number of images, as rows in parts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keras_mrcnn.cli.tensorflow_start import import_tensorflow

if TYPE_CHECKING:
    from keras_mrcnn.batch import Shard

PART_FORMATS = ("parquet", "jsonl")
PART_SIZE = 1000


class _Shard(click.ParamType):
    """The type of --shard: I/N, given as a `Shard`."""

    name = "I/N"

    def convert(self, value, param, ctx):
        from keras_mrcnn.batch import Shard

        numbers = re.fullmatch(r"([0-9]+)/([0-9]+)", value)
        shard = Shard(*map(int, numbers.groups())) if numbers else None
        if shard is None or shard.index >= shard.count:
            self.fail(f"{value!r} is not I/N with I from 0 to N - 1, such as 0/4", param, ctx)
        return shard


_OPTIONS = (
    click.option("--part-size", type=click.IntRange(1), help=f"Images of a part.  [default: {PART_SIZE}]"),
    click.option("--resume", is_flag=True, help="Go on with the parts that an interrupted run has left in OUT."),
    click.option("--strict", is_flag=True, help="Stop at the first image that cannot be read."),
    click.option("--shard", type=_Shard(), help="Write every N-th part from part I on; others write the rest."),
    click.option(
        "--runtime",
        type=click.Choice(["keras", "savedmodel", "onnx"]),
        help="What runs the model; weights are exported first if need be.  [default: what WEIGHTS is made for]",
    ),
    click.option("--column", metavar="NAME", help="Column of the Parquet files with paths or bytes of images."),
)


def part_options(command: Callable) -> Callable:
    """Adds the options of `write_parts` to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def is_used(options: Mapping[str, Any]) -> str:
    """Returns the first of these options that the user has set, or ""."""
    return next((f"--{name.replace('_', '-')}" for name, value in options.items() if value), "")


def write_parts(
    weights: Path,
    images: tuple[str, ...],
    out: Path,
    part_format: str,
    ids: Callable[[str], tuple[str, int]] | None,
    min_score: float,
    batch_size: int,
    *,
    part_size: int | None,
    resume: bool,
    strict: bool,
    shard: Shard | None,
    runtime: str | None,
    column: str | None,
) -> None:
    """Runs `predict_parts` with a progress bar, and says what was written.

    Args:
        weights, images, out, min_score, batch_size: of the command line.
        part_format: one of `PART_FORMATS`.
        ids: gives the name and the id of an image by its name below the folder; None numbers them.
        part_size, resume, strict, shard, runtime, column: values of the options.
    """
    from keras_mrcnn.batch.inputs import is_prepared

    if weights.suffix != ".onnx" or any(map(is_prepared, images)):
        import_tensorflow()
    from tqdm import tqdm

    from keras_mrcnn.batch import PartSettings, Shard, open_input, predict_parts

    settings = PartSettings(part_format, part_size or PART_SIZE, batch_size, min_score)
    pictures = open_input(images, column, ids)
    with tqdm(desc="predict", unit="image", leave=False, disable=None) as bar:

        def show(done, total):
            bar.total = total
            bar.update(done - bar.n)

        options = {"runtime": runtime, "shard": shard or Shard(), "resume": resume, "strict": strict}
        outcome = predict_parts(weights, pictures, out, settings, **options, progress=show)
    counts = outcome.counts
    click.echo(f"{out}: {counts.detections} detections in {counts.pictures - counts.errors} images")
    if counts.errors:
        where = f"{outcome.errors} says why" if outcome.is_complete else f"{outcome.errors} will say why"
        click.echo(f"{counts.errors} of {counts.pictures} images could not be read; {where}.", err=True)
    if not outcome.is_complete:
        click.echo("Other shards have not finished yet; the last one completes the folder.", err=True)
