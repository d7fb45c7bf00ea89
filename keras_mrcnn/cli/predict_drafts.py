"""The detections of `keras-mrcnn predict` as annotations to correct, and the queue of the pictures."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.cli.annotation_source import counted, tell_remarks

if TYPE_CHECKING:
    from keras_mrcnn.data.formats.writing import Part

QUEUE_NAME = "queue.csv"


def check_free(folder: Path, target: str) -> None:
    """Raises UserError if the folder for annotations holds some already, which may have been corrected since."""
    from keras_mrcnn.data.formats.writing.dataset import check_out

    try:
        check_out(folder, target)
    except UserError as error:
        raise UserError(
            f"{folder} is not empty, and what it holds may have been corrected by hand; choose another --out, or move "
            "it away"
        ) from error


def make_drafts(image_list: dict, results: list[dict], files: dict[int, tuple[Path, str]], min_score: float) -> Part:
    """Makes the part of a data set whose annotations are detections.

    Args:
        image_list: content of a COCO file with the images and categories.
        results: COCO results.
        files: path of each image id, and its name below its folder.
        min_score: lowest score of a detection that becomes an annotation.

    Returns:
        `Part` whose images have names that are unique, whatever folders they come from.
    """
    from keras_mrcnn.data.formats.writing import Part
    from keras_mrcnn.pre_annotation import annotations_from, unique_names

    images = image_list["images"]
    names = unique_names(files[image["id"]][1] for image in images)
    named = [{**image, "file_name": name} for image, name in zip(images, names)]
    content = {**image_list, "images": named, "annotations": annotations_from(results, min_score)}
    return Part(content, {image_id: path for image_id, (path, _) in files.items()})


def write_drafts(drafts: Part, folder: Path, target: str) -> None:
    """Writes the annotations, and says how many there are and how to go on."""
    from keras_mrcnn.data.formats.writing import write_dataset

    report = write_dataset({"": drafts}, folder, target)
    click.echo(f"Wrote {counted(report.images, report.objects, 0)} to {folder} ({target}).")
    # What the format has no place for are scores, and drafts for people need no validation part.
    tell_remarks({reason: count for reason, count in report.skipped.items() if reason != "score"}, ())


def write_queue(drafts: Part, results: list[dict], out: Path, target: str | None) -> None:
    """Writes OUT/queue.csv; the paths in it are relative to OUT, those of pictures as the user gave them."""
    from keras_mrcnn.data.formats.writing.dataset import annotation_name
    from keras_mrcnn.pre_annotation import QueueEntry, uncertainty
    from keras_mrcnn.pre_annotation import write_queue as write

    scores = defaultdict(list)
    for result in results:
        scores[result["image_id"]].append(result["score"])
    counts = Counter(annotation["image_id"] for annotation in drafts.content["annotations"])
    entries = [
        QueueEntry(
            file=os.fspath(drafts.pictures[image["id"]]),
            uncertainty=uncertainty(scores[image["id"]]),
            detections=counts[image["id"]],
            annotations=f"{target}/{annotation_name(image, target)}" if target else "",
        )
        for image in drafts.content["images"]
    ]
    write(out / QUEUE_NAME, entries)
    click.echo(f"Wrote the order of the images to {out / QUEUE_NAME}.")
