"""`keras-mrcnn data convert`: writes annotations of any format in another one."""

from __future__ import annotations

from pathlib import Path

import click

from keras_mrcnn.cli.annotation_source import counted, read_source, source_options, tell_remarks

TARGETS = ("coco", "labelme", "yolo")


@click.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--to", "target", type=click.Choice(TARGETS), required=True, help="Format to write.")
@source_options
@click.option("--overwrite", is_flag=True, help="Replace OUT if it holds only annotations of this format and links.")
def convert(source: Path, out: Path, target: str, overwrite: bool, **options) -> None:
    """Write the annotations of SOURCE in another format, with links to its pictures.

    OUT is a folder that is new or empty. With --to coco it becomes OUT/annotations/SPLIT.json and OUT/images/SPLIT,
    ready for `train --data OUT`, or one file if OUT ends in .json. With --to labelme, `labelme OUT` opens it. With
    --to yolo, OUT/dataset.yaml is for Ultralytics.

    SOURCE may also be the folder of `predict --format parquet` or jsonl. With --to coco, its detections become COCO
    results: one file if OUT ends in .json, otherwise OUT/detections.json and OUT/images.json.
    """
    if (source / "manifest.json").is_file():
        _convert_detections(source, out, target)
        return
    from keras_mrcnn.data.formats.writing import folder_part, write_dataset
    from keras_mrcnn.data.formats.writing.dataset import check_out

    check_out(out, target, overwrite)
    annotations = read_source(source, **options)
    parts = {name: folder_part(part.content, part.image_folder) for name, part in annotations.items()}
    report = write_dataset(parts, out, target, overwrite=overwrite)
    click.echo(f"Wrote {counted(report.images, report.objects, report.crowds)} to {out} ({target}).")
    tell_remarks(report.skipped, report.notes)


def _convert_detections(source, out, target):
    """Writes the detections of a results folder as COCO results."""
    from keras_mrcnn.batch.coco import write_coco

    if target != "coco":
        raise click.UsageError(f"detections in parts become COCO results alone; take --to coco, not {target}")
    counts = write_coco(source, out)
    click.echo(f"Wrote {counts.detections} detections in {counts.pictures} images to {out} (COCO results).")
