"""`keras-mrcnn data stats`: says what is in a data set."""

from __future__ import annotations

import json
from pathlib import Path

import click

from keras_mrcnn.base.atomic_files import atomic_write
from keras_mrcnn.base.tables import text_table
from keras_mrcnn.cli.annotation_source import read_source, source_options
from keras_mrcnn.cli.locations import FILE, PRESET_NAMES
from keras_mrcnn.cli.tensorflow_start import import_tensorflow

DISTRIBUTIONS = {
    "widths": "width, px",
    "heights": "height, px",
    "objects_per_image": "objects in an image",
    "box_sides": "object side, px",
}
SIZE_LIMITS = ("below 32² px", "32² to 96² px", "above 96² px")


@click.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@source_options
@click.option("--json", "json_file", type=FILE, help="Write the numbers there too.")
@click.option(
    "--preset", type=click.Choice(PRESET_NAMES.split(", ")), help="Measure how well the anchors of its model fit, too."
)
def stats(source: Path, json_file: Path | None, preset: str | None, **options) -> None:
    """Print how many images, objects and classes a data set has, and how large they are.

    The side of an object is the square root of its box's area. Only annotations are read, no pictures.
    """
    from keras_mrcnn.data.coco import CocoDataset
    from keras_mrcnn.data.statistics import dataset_statistics, statistics_json

    annotations = read_source(source, **options)
    datasets = {name or "all": CocoDataset(part.content, part.image_folder) for name, part in annotations.items()}
    statistics = {name: dataset_statistics(dataset) for name, dataset in datasets.items()}
    tables = [_split_table(statistics), _class_table(statistics)]
    tables += [f"{name}\n{_distribution_table(of_split)}" for name, of_split in statistics.items()]
    numbers = {"splits": {name: statistics_json(of_split) for name, of_split in statistics.items()}}
    if preset is not None:
        name, dataset = next(iter(datasets.items()))
        numbers["anchors"] = _anchors(dataset, preset)
        title = f"Best IoU of any anchor of {preset} with each object, {name}"
        tables.append(f"{title}\n{_anchor_table(numbers['anchors'])}")
    click.echo("\n" + "\n\n".join(tables))
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(json_file) as temporary:
            temporary.write_text(json.dumps(numbers, indent=2), encoding="utf-8")


def _split_table(statistics):
    """Returns a table with a row for each split."""
    from keras_mrcnn.data.statistics import SPLIT_COLUMNS, split_row

    return text_table([SPLIT_COLUMNS, *(split_row(name, of_split) for name, of_split in statistics.items())])


def _class_table(statistics):
    """Returns a table with a row for each class, and three columns for each split."""
    from keras_mrcnn.data.statistics import class_rows

    head = ["class"]
    for name in statistics:
        head += [f"{name} objects", "images with any", "median side, px"]
    rows, total = class_rows(statistics, {name: of_split.box_sides for name, of_split in statistics.items()})
    return text_table([head, *rows, total])


def _distribution_table(of_split):
    """Returns a table of the distributions of sizes and counts, and the numbers of objects by size."""
    from keras_mrcnn.data.statistics import SIZE_NAMES, distributions, statistics_json

    rows = [("", "least", "10 %", "median", "90 %", "most")]
    for name, values in distributions(of_split).items():
        rows.append((DISTRIBUTIONS[name], *(values or [None] * 5)))
    sizes = statistics_json(of_split)["sizes"]
    total = max(sum(sizes.values()), 1)
    by_size = [("mask area", "objects", "share")]
    for name, limit in zip(SIZE_NAMES, SIZE_LIMITS):
        by_size.append((f"{name}, {limit}", sizes[name], f"{sizes[name] / total:.1%}"))
    return f"{text_table(rows)}\n\n{text_table(by_size)}"


def _anchors(dataset, preset):
    """Returns how well the anchors of a preset's model fit: a dict for each class, each size, and all objects."""
    import_tensorflow()
    from keras_mrcnn.config import load_config
    from keras_mrcnn.report import data_section, data_statistics

    model = load_config(preset).model
    by_class, by_size = data_section.anchor_tables(data_statistics(dataset, model), model)
    titles = [column.title for column in by_class.columns[1:]]
    rows = {"all": [by_class.total], "classes": by_class.rows, "sizes": by_size.rows}
    return {key: {row[0]: dict(zip(titles, row[1:])) for row in some} for key, some in rows.items()}


def _anchor_table(anchors):
    """Returns the fit of the anchors as one table."""
    rows = [(name, *fit.values()) for part in ("classes", "sizes", "all") for name, fit in anchors[part].items()]
    return text_table([("", *anchors["all"]["all"]), *rows])
