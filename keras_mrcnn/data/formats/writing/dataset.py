"""Writes data sets in the formats of other programs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from keras_mrcnn.base.atomic_files import atomic_write
from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.coco import load_annotations
from keras_mrcnn.data.formats.writing import coco, labelme, yolo
from keras_mrcnn.data.formats.writing.folders import check_free, new_folder
from keras_mrcnn.data.formats.writing.masks import EMPTY, EMPTY_CROWD
from keras_mrcnn.data.formats.writing.parts import UNNAMED, Part, checked_parts, folder_part

_WRITERS = {"coco": coco, "labelme": labelme, "yolo": yolo}
WRITTEN_FORMATS = tuple(_WRITERS)


class WriteReport(NamedTuple):
    """What was written.

    Args:
        path: the folder or file.
        format: one of `WRITTEN_FORMATS`.
        images: number of images.
        objects: number of objects, without crowd regions.
        crowds: number of crowd regions.
        skipped: what was left out, counted by reason.
        notes: sentences that the user should see.
    """

    path: Path
    format: str
    images: int
    objects: int
    crowds: int
    skipped: dict[str, int]
    notes: tuple[str, ...]


def write_annotations(
    content: dict, image_folder: Path, out: Path, format: str, *, overwrite: bool = False
) -> WriteReport:
    """Writes the content of a COCO file in one of the formats, with links to its pictures.

    Args:
        content: content of a COCO file.
        image_folder: folder that its file names are relative to.
        out, format, overwrite: as for `write_dataset`.

    Returns:
        `WriteReport`.

    Raises:
        UserError: as `write_dataset`.

    Example:
        >>> import tempfile
        >>> out = Path(tempfile.mkdtemp(), "new")
        >>> image = {"id": 1, "file_name": "a.jpg", "height": 4, "width": 8}
        >>> report = write_annotations({"images": [image], "annotations": [], "categories": []}, out, out, "labelme")
        >>> report.images, report.objects, report.skipped, (out / "a.json").is_file()
        (1, 0, {'picture that does not exist': 1}, True)
    """
    return write_dataset({"": folder_part(content, image_folder)}, out, format, overwrite=overwrite)


def write_dataset(parts: Mapping[str, Part], out: Path, format: str, *, overwrite: bool = False) -> WriteReport:
    """Writes the parts of a data set in one of the formats.

    "coco" writes OUT/annotations/PART.json and OUT/images/PART; if the name of `out` ends in .json, it writes that one
    file and no links. "labelme" writes a JSON file beside a link to each picture, in OUT, or in OUT/PART if the parts
    have names. "yolo" writes OUT/dataset.yaml, OUT/labels/PART and OUT/images/PART. Pictures are links, see
    `folders`. A part without a name is called train.

    Args:
        parts: the `Part`s by name, at least one.
        out: folder that is empty or does not exist; its parents are made.
        format: "coco", "labelme" or "yolo".
        overwrite: replaces a folder that holds nothing but annotations of this format and links.

    Returns:
        `WriteReport`. What the format cannot hold is counted in `skipped`.

    Raises:
        UserError: a record is malformed, the format does not exist, or `out` holds something.
    """
    if format not in _WRITERS:
        raise UserError(f"there is no format {format} to write; choose one of {', '.join(WRITTEN_FORMATS)}")
    skipped: Counter = Counter()
    named = checked_parts({name or UNNAMED: part for name, part in parts.items()}, skipped)
    if format == "coco" and Path(out).suffix == ".json":
        notes = _write_one_file(named, Path(out), overwrite)
    else:
        writer = _WRITERS[format]
        with new_folder(out, overwrite, writer.is_own, skipped) as folder:
            notes = writer.write_folder(named, folder)
    return _report(named, Path(out), format, skipped, notes)


def annotation_name(image: dict, format: str) -> str:
    """Returns the path below the folder of the annotations of an image, in a data set whose part has no name.

    Example:
        >>> annotation_name({"file_name": "street/a.jpg"}, "yolo")
        'labels/train/street/a.txt'
    """
    return _WRITERS[format].annotation_name(image).as_posix()


def check_out(out: Path, format: str, overwrite: bool = False) -> None:
    """Raises UserError if `write_dataset` would refuse `out`, before any work is done."""
    if not (format == "coco" and Path(out).suffix == ".json"):
        check_free(Path(os.path.realpath(out)), overwrite, _WRITERS[format].is_own, shown=Path(out))
    elif os.path.lexists(out):
        _check_file(Path(out), overwrite)


def _write_one_file(parts: Mapping[str, Part], out: Path, overwrite: bool) -> list[str]:
    """Writes one COCO file and returns what the user should know."""
    if len(parts) > 1:
        raise UserError(
            f"{out} is one file, and the data have the parts {', '.join(parts)}; choose one with --split, or name a "
            "folder"
        )
    check_out(out, "coco", overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(out) as temporary:
        coco.write_file(next(iter(parts.values())).content, temporary)
    return ["Its file names are relative to the folder with the pictures; name that folder with --images."]


def _check_file(out: Path, overwrite: bool) -> None:
    """Raises UserError unless an existing file may be replaced."""
    if not overwrite:
        raise UserError(f"{out} exists; name another file, or replace it with --overwrite")
    try:
        load_annotations(out)
    except UserError as error:
        raise UserError(f"{out} is no COCO file and is not replaced; name another file") from error


def _report(parts: Mapping[str, Part], out: Path, format: str, skipped: Counter, notes: list[str]) -> WriteReport:
    """Counts what was written."""
    annotations = [annotation for part in parts.values() for annotation in part.content["annotations"]]
    crowds = sum(bool(annotation.get("iscrowd")) for annotation in annotations)
    lost = skipped["object without a mask"] + skipped[EMPTY]
    return WriteReport(
        path=out,
        format=format,
        images=sum(len(part.content["images"]) for part in parts.values()),
        objects=len(annotations) - crowds - lost,
        crowds=crowds - skipped["crowd region"] - skipped[EMPTY_CROWD],
        skipped={reason: count for reason, count in skipped.items() if count},
        notes=tuple(notes),
    )
