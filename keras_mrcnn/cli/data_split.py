"""`keras-mrcnn data split`: divides a data set into train and val."""

from __future__ import annotations

from pathlib import Path

import click

from keras_mrcnn.base.tables import text_table
from keras_mrcnn.cli.annotation_source import read_source, source_options, tell_remarks
from keras_mrcnn.cli.locations import FOLDER


@click.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("out", type=FOLDER)
@click.option(
    "--val",
    "val_share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    help="Share of the images for validation.",
)
@click.option(
    "--by",
    metavar="GROUP",
    help="Keep images of one group together: folder, name:PATTERN (a regular expression for the start of the file "
    "name), or a field of the images in the annotations.",
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Another seed gives other parts.")
@source_options
@click.option("--overwrite", is_flag=True, help="Replace OUT if it holds only annotations and links.")
def split(source: Path, out: Path, val_share: float, by: str | None, seed: int, overwrite: bool, **options) -> None:
    """Divide SOURCE at random into OUT/annotations/train.json and val.json.

    OUT/images/train and OUT/images/val have links to the pictures, so `train --data OUT` finds them and nothing is
    copied. Every class with objects in two or more images is in both parts where that is possible, even if the share
    is then not met.
    """
    from keras_mrcnn.data.formats.writing import folder_part, write_dataset
    from keras_mrcnn.data.formats.writing.dataset import check_out
    from keras_mrcnn.data.splits import divide

    check_out(out, "coco", overwrite)
    (part,) = read_source(source, **options, only_one=True).values()
    division = divide(part.content, val_share, by, seed)
    contents = {"train": division.train, "val": division.val}
    parts = {name: folder_part(content, part.image_folder) for name, content in contents.items()}
    report = write_dataset(parts, out, "coco", overwrite=overwrite)
    click.echo(_table(contents))
    if by is not None:
        click.echo(f"Kept {division.num_groups} groups together ({by}).")
    tell_remarks(report.skipped, _remarks(division, val_share))
    click.echo(f"Wrote {out}.")


def _remarks(division, val_share):
    """Gives sentences about a share that is not met, and about classes in one part only."""
    images, val = (len(division.train["images"]) + len(division.val["images"]), len(division.val["images"]))
    if abs(val - images * val_share) >= 1:
        yield (
            f"{val} of {images} images are for validation, not {val_share:.1%}, so that groups stay together and every "
            "class is in both parts."
        )
    if division.one_sided:
        yield f"In one part only, although in several images: {', '.join(division.one_sided)}."


def _table(contents):
    """Returns a table of the two parts."""
    total = sum(len(content["images"]) for content in contents.values())
    rows = [("", "images", "share", "objects", "classes")]
    for name, content in contents.items():
        objects = [item for item in content["annotations"] if not item.get("iscrowd")]
        classes = {item["category_id"] for item in objects}
        images = len(content["images"])
        rows.append((name, images, f"{images / total:.1%}", len(objects), len(classes)))
    return text_table(rows)
