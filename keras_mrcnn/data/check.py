"""Checks a COCO data set for problems, and removes the bad records on request.

`check_dataset` only lists problems; `drop_bad` returns a cleaned copy of the annotations together with counts, so that
nothing is dropped silently. Neither changes any file. `records.py` has the rules for fields and boxes,
`segmentations.py` those for masks.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.image_files import ImageError, read_image
from keras_mrcnn.data.coco import load_annotations
from keras_mrcnn.data.records import (
    FAULT_OF,
    annotation_fault,
    box_faults,
    category_fault,
    image_fault,
    is_id,
    is_name,
    shortened,
)
from keras_mrcnn.data.segmentations import segmentation_fault

ProgressCallback = Callable[[int, int], None]


class DataError(UserError):
    """An error for a data set that cannot be used as it is; the message says why, and what to do."""


@dataclass(frozen=True)
class Problem:
    """One problem of a data set.

    Attributes:
        kind: "annotation file", "missing file", "unreadable file", "size mismatch", "malformed record",
            "duplicate id", "duplicate name", "unknown image", "unknown category", "box outside", "box without area",
            "bad segmentation" or "no annotations".
        file_name: the image file, or the annotation file if the problem concerns no image.
        annotation_id: id of the annotation, or None.
        message: what is wrong, and what to do.
        record: list ("images", "annotations" or "categories") and row of the record that `drop_bad` removes; None if
            it can remove none.
    """

    kind: str
    file_name: str
    annotation_id: Any
    message: str
    record: tuple[str, int] | None = None

    def __str__(self) -> str:
        where = self.file_name if self.annotation_id is None else f"{self.file_name}, annotation {self.annotation_id}"
        return f"{where}: {self.kind}: {self.message}"


def check_dataset(
    annotation_file: str | Path, image_folder: str | Path, progress: ProgressCallback | None = None
) -> list[Problem]:
    """Lists every problem of a data set; decodes every image completely, several at a time.

    Args:
        annotation_file: COCO JSON file.
        image_folder: folder that the file names in it are relative to.
        progress: function to call after each image with (images done, images in total).

    Returns:
        List of the problems: first of the file and the categories, then of images, then of annotations; empty if there
        are none. A box may reach beyond the image by `records.BOX_TOLERANCE` pixels.
    """
    try:
        content = load_annotations(annotation_file)
    except ValueError as error:
        return [Problem("annotation file", str(annotation_file), None, str(error))]
    checker = Checker(content, str(annotation_file), Path(image_folder))
    problems = [*checker.categories(), *checker.image_records(), *checker.image_files(progress)]
    return [*problems, *checker.annotations(), *checker.empty_lists()]


def drop_bad(
    annotation_file: str | Path | dict, image_folder: str | Path, problems: list[Problem]
) -> tuple[dict, dict[str, int]]:
    """Removes the records with problems from the content of an annotation file.

    Args:
        annotation_file: COCO JSON file, unchanged since the check, or its content.
        image_folder: folder of the images; named in the error message.
        problems: result of `check_dataset` for this file and folder.

    Returns:
        Cleaned content of the annotation file, for `CocoDataset`, and a dict with the number of records dropped for
        each kind of problem. Good annotations of a dropped image count as "annotation of a dropped image".

    Raises:
        DataError: a problem concerns the whole file, the file is not the one that was checked, or nothing is left.
    """
    fatal = [problem for problem in problems if problem.record is None]
    if fatal:
        raise DataError(f"{fatal[0]}; this cannot be skipped")
    content, name = annotation_file, "the annotations"
    if not isinstance(annotation_file, dict):
        content, name = load_annotations(annotation_file), str(annotation_file)
    # A record with several problems is dropped, and counted, once.
    reasons = {problem.record: problem.kind for problem in reversed(problems)}
    kept = {
        part: [record for row, record in enumerate(content[part]) if (part, row) not in reasons]
        for part in ("images", "annotations", "categories")
    }
    if any(FAULT_OF[part](record) for part, records in kept.items() for record in records):
        raise DataError(f"{name} has malformed records that the problems do not name; check it again")
    counts = Counter(reversed(reasons.values()))
    image_ids = {image["id"] for image in kept["images"]}
    orphans = [annotation for annotation in kept["annotations"] if annotation["image_id"] not in image_ids]
    if orphans:
        counts["annotation of a dropped image"] = len(orphans)
        kept["annotations"] = [a for a in kept["annotations"] if a["image_id"] in image_ids]
    for part, records in kept.items():
        if not records:
            raise DataError(
                f"nothing is left in '{part}' of {name} (images in {image_folder}) after leaving out what "
                "is bad; run `keras-mrcnn data check` and correct it"
            )
    return {**content, **kept}, dict(counts)


class Checker:
    """The checks of one data set; each public method gives the problems of one kind of record.

    Args:
        content: content of a COCO file.
        annotation_file: its name in messages.
        image_folder: folder of its images.
    """

    def __init__(self, content: dict, annotation_file: str, image_folder: Path) -> None:
        self.content = content
        self.annotation_file = annotation_file
        self.image_folder = image_folder
        self.images: dict[int, dict] = {}  # well-formed image records, by id
        self.image_rows: dict[int, int] = {}
        self.bad_images: dict[int, str] = {}  # file names of the malformed ones whose ids are readable, by id
        self.category_ids: set[int] = set()

    def categories(self) -> Iterator[Problem]:
        """Gives the problems of the categories."""
        names: set[str] = set()
        for row, record in enumerate(self.content["categories"]):
            where = (self.annotation_file, None)
            fault = category_fault(record)
            if fault:
                yield Problem("malformed record", *where, f"category {row + 1} {fault}", ("categories", row))
            elif record["id"] in self.category_ids:
                message = f"category id {record['id']} is used more than once; renumber"
                yield Problem("duplicate id", *where, message, ("categories", row))
            else:
                if record["name"] in names:
                    # Classes are chosen by name, so only the user can decide between two ids of one name.
                    message = f"two categories are called {record['name']!r}; rename one"
                    yield Problem("duplicate name", *where, message)
                names.add(record["name"])
                self.category_ids.add(record["id"])

    def image_records(self) -> Iterator[Problem]:
        """Gives the problems of the entries of 'images'."""
        for row, record in enumerate(self.content["images"]):
            named = isinstance(record, dict) and is_name(record.get("file_name"))
            name = record["file_name"] if named else self.annotation_file
            fault = image_fault(record)
            if fault:
                yield Problem("malformed record", name, None, f"image {row + 1} {fault}", ("images", row))
                if isinstance(record, dict) and is_id(record.get("id")):
                    self.bad_images[record["id"]] = name
            elif record["id"] in self.images:
                message = f"image id {record['id']} is used more than once; renumber"
                yield Problem("duplicate id", name, None, message, ("images", row))
            else:
                self.images[record["id"]] = record
                self.image_rows[record["id"]] = row

    def image_files(self, progress: ProgressCallback | None) -> Iterator[Problem]:
        """Gives the problems of the image files; needs `image_records` first."""
        # Pillow decodes without the interpreter's lock.
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            faults = pool.map(partial(image_file_fault, self.image_folder), self.images.values())
            for done, (image_id, fault) in enumerate(zip(self.images, faults), start=1):
                if fault:
                    kind, message = fault
                    name = self.images[image_id]["file_name"]
                    yield Problem(kind, name, None, message, ("images", self.image_rows[image_id]))
                if progress:
                    progress(done, len(self.images))

    def annotations(self, masks: bool = True) -> Iterator[Problem]:
        """Gives the problems of the annotations; needs `categories` and `image_records` first.

        Args:
            masks: whether to check the segmentations of annotations without another problem, too; that takes the
                longest.
        """
        seen: set[int] = set()
        for row, record in enumerate(self.content["annotations"]):
            fault = annotation_fault(record)
            name, annotation_id = self._place(record)
            if fault:
                faults = [("malformed record", fault if isinstance(record, dict) else f"annotation {row + 1} {fault}")]
            else:
                faults = list(self._annotation_faults(record))
                if annotation_id in seen:
                    faults.append(("duplicate id", f"annotation id {annotation_id} is used more than once; renumber"))
                seen.add(annotation_id)
                if masks or faults:
                    faults += self._mask_faults(record)
            for kind, message in faults:
                yield Problem(kind, name, annotation_id, message, ("annotations", row))

    def empty_lists(self) -> Iterator[Problem]:
        """Gives a problem for each list that is empty."""
        for name in ("annotations", "images"):
            if not self.content[name]:
                yield Problem("no annotations", self.annotation_file, None, f"the list '{name}' is empty")

    def _place(self, record: Any) -> tuple[str, Any]:
        """Returns the file name and the id to report for an annotation, however malformed it is."""
        if not isinstance(record, dict):
            return self.annotation_file, None
        image_id, annotation_id = record.get("image_id"), record.get("id")
        if annotation_id is not None and not is_id(annotation_id):
            annotation_id = shortened(annotation_id)
        if not is_id(image_id):
            return self.annotation_file, annotation_id
        name = self.images.get(image_id, {}).get("file_name", self.bad_images.get(image_id, self.annotation_file))
        return name, annotation_id

    def _annotation_faults(self, record: dict) -> Iterator[tuple[str, str]]:
        """Gives kind and message of each problem of an annotation whose fields are well-formed, but for its mask."""
        if record["category_id"] not in self.category_ids:
            yield "unknown category", f"category_id {record['category_id']} is not in 'categories'"
        image = self.images.get(record["image_id"])
        if image is None:
            if record["image_id"] not in self.bad_images:
                yield "unknown image", f"image_id {record['image_id']} is not in 'images'"
            return
        yield from box_faults(record["bbox"], image["height"], image["width"])

    def _mask_faults(self, record: dict) -> Iterator[tuple[str, str]]:
        """Gives kind and message of the problem of an annotation's mask, if it has one and its image is known."""
        image = self.images.get(record["image_id"])
        fault = image and segmentation_fault(record.get("segmentation"), image["height"], image["width"])
        if fault:
            yield "bad segmentation", fault


def image_file_fault(image_folder: Path, record: dict) -> tuple[str, str] | None:
    """Decodes an image file completely.

    Args:
        image_folder: folder that the file name is relative to.
        record: well-formed entry of 'images'.

    Returns:
        Kind and message of the problem of the file, see `Problem`, or None.
    """
    path = image_folder / record["file_name"]
    if not os.path.isfile(path):  # unlike Path.is_file, without an error for a name that no file can have
        return "missing file", f"{path} does not exist; put it there or take the image out"
    try:
        height, width = read_image(path).shape[:2]
    except ImageError as error:
        return "unreadable file", str(error)
    expected = (record["height"], record["width"])
    if (height, width) == expected:
        return None
    turned = "; the EXIF orientation seems to have been ignored there" if (width, height) == expected else ""
    return "size mismatch", (
        f"the file is {width} x {height} pixels, the annotations say {expected[1]} x {expected[0]}{turned}"
    )
