"""Collects the pictures and objects of a source as the content of a COCO file, and counts what is left out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.image_files import read_image_size
from keras_mrcnn.data.formats.files import counted, one_line
from keras_mrcnn.data.formats.folders import PictureFolder, choose_folder, inside_name, last_parts
from keras_mrcnn.data.formats.shapes import Shape, area_and_box, segmentation_of
from keras_mrcnn.data.records import image_fault
from keras_mrcnn.data.segmentations import malformed_segmentation


class Annotations(NamedTuple):
    """Annotations of any format, as the content of a COCO file.

    Attributes:
        content: dict with the lists images, annotations and categories.
        image_folder: folder that the file names of the images are relative to.
        format: name of the format that was read, one of `FORMATS`.
        skipped: how much was left out, by reason, such as {"point": 1}.
        notes: sentences that the user should see, for example that an oddity was put right.
    """

    content: dict
    image_folder: Path
    format: str
    skipped: dict[str, int]
    notes: tuple[str, ...]


class CrowdQuestion(UserError):
    """The question whether masks that are marked as crowd regions are objects; `crowds` answers it."""


@dataclass
class Picture:
    """A picture of the content that is being collected."""

    id: int
    height: int
    width: int
    objects: set[str] = field(default_factory=set)  # that it has already


class Collector:
    """Collects pictures and their objects.

    Args:
        format: name of the format.
        source: path of the annotations, for messages.
        skip_missing: whether pictures without a file are left out and counted.
    """

    def __init__(self, format: str, source: Path, skip_missing: bool = False) -> None:
        self.format, self.source, self.skip_missing = format, source, skip_missing
        self.folder = PictureFolder(source)
        self.skipped: Counter[str] = Counter()
        self.notes: list[str] = []
        self.images: list[dict] = []
        self.annotations: list[dict] = []
        self.categories: dict[str, int] = {}
        self._rectangles = 0
        self._used: dict[str, str] = {}  # file names, and which annotations are for them
        self._renamed: list[tuple[str, str]] = []
        self._missing: list[str] = []
        self._without_size: list[str] = []

    def look_in(self, candidates: Iterable[Path], pictures: Sequence[Sequence[str]]) -> None:
        """Chooses the folder of the pictures, as `choose_folder` does."""
        self.folder = choose_folder(candidates, pictures)

    def declare(self, categories: dict[str, int]) -> None:
        """Takes over the numbers that the source gives its classes."""
        self.categories.update(categories)

    def skip(self, reason: str, count: int = 1) -> None:
        """Counts what is left out."""
        if count:
            self.skipped[reason] += count

    def note(self, sentence: str) -> None:
        """Keeps a sentence for the user."""
        self.notes.append(sentence)

    def picture(
        self, names: Sequence[str], where: str, size: tuple[int, int] | None = None, others: Sequence[str] = ()
    ) -> Picture | None:
        """Adds a picture.

        Args:
            names: names that its file may have, the likeliest first.
            where: the annotations of the picture, for messages.
            size: (height, width) of the upright picture if the annotations say it; else that of the file is taken.
            others: names to try then; the user is told about those that are used.

        Returns:
            The picture, or None if its file is missing and it is left out.

        Raises:
            UserError: two annotations are for one picture, its size cannot be used, or its file is no image.
        """
        found = self.folder.find([*names, *others])
        if found is None:
            self._missing.append(names[0])
            if self.skip_missing or size is None:
                self._without_size += [names[0]] * (size is None)
                return None
        elif found not in map(inside_name, names):
            self._renamed.append((names[0], found))
        file_name = found or last_parts(names[0]) or "picture"
        if file_name in self._used:
            both = f"{self._used[file_name]} and {where}"
            raise UserError(f"{both} are both for the picture {one_line(file_name)}; take one out")
        self._used[file_name] = where
        height, width = size or read_image_size(self.folder.path / file_name)
        record = {"id": len(self.images) + 1, "file_name": file_name, "height": height, "width": width}
        fault = image_fault(record)
        if fault:
            raise UserError(f"{where} {fault}; correct it")
        self.images.append(record)
        return Picture(record["id"], height, width)

    def add(self, picture: Picture, shape: Shape) -> None:
        """Adds an object, or counts why it is left out.

        Raises:
            UserError: a part cannot be used, such as a polygon far outside the picture.
        """
        height, width = picture.height, picture.width
        parts = [part for part in shape.parts if isinstance(part, dict) or len(part) >= 6]
        self.skip("polygon of fewer than 3 points", len(shape.parts) - len(parts))
        for part in parts:
            fault = malformed_segmentation(part if isinstance(part, dict) else [part], height, width)
            if fault:
                raise UserError(f"{shape.where} cannot be used ({fault}); correct it")
        if not parts:
            return
        segmentation = segmentation_of(parts, height, width)
        area, box = area_and_box(segmentation, height, width)
        key = json.dumps([shape.label, segmentation, shape.is_crowd])
        if not area:
            self.skip("object that covers no pixel of its picture")
        elif key in picture.objects:
            self.skip("object that is there twice")
        else:
            picture.objects.add(key)
            self._append(picture, shape, segmentation, area, box)

    def _append(self, picture: Picture, shape: Shape, segmentation: list | dict, area: float, box: list[float]) -> None:
        """Appends the record of an object."""
        self._rectangles += shape.is_rectangle
        label = shape.label.strip()
        category_id = self.categories.setdefault(label, max(self.categories.values(), default=0) + 1)
        self.annotations.append(
            {
                "id": len(self.annotations) + 1,
                "image_id": picture.id,
                "category_id": category_id,
                "bbox": box,
                "area": area,
                "iscrowd": int(shape.is_crowd),
                "segmentation": segmentation,
            }
        )

    def finish(self) -> Annotations:
        """Returns what was collected.

        Raises:
            UserError: the sizes of pictures without a file are not known, or there is no picture.
        """
        folder = self.folder.path
        if self.skip_missing:
            self.skip("missing picture", len(self._missing))
        elif self._without_size:
            raise missing_error(self._without_size, self.source, folder)
        elif self._missing:
            self.note(missing_note(self._missing, len(self.images), folder))
        if not self.images:
            left_out = f" whose files exist in {folder}" if self._missing else ""
            raise UserError(f"{self.source} has no annotated pictures{left_out}; check the path, --images and --format")
        if self._renamed:
            self.note(renamed_note(self._renamed, folder))
        if self._rectangles:
            became = "rectangle became a mask that fills it", "rectangles became masks that fill them"
            self.note(counted(self._rectangles, *became))
        content = {
            "images": self.images,
            "annotations": self.annotations,
            "categories": [{"id": number, "name": name} for name, number in self.categories.items()],
        }
        return Annotations(content, folder, self.format, dict(self.skipped), tuple(self.notes))


def missing_error(missing: Sequence[str], source: Path, folder: Path) -> UserError:
    """Returns the error for pictures whose files are missing although their sizes are needed."""
    return UserError(
        f"{counted(len(missing), 'picture', 'pictures')} of {source} {_are_not_in(missing, folder)}; put what is "
        "missing there, name the folder with --images, or leave it out with --skip-missing"
    )


def missing_note(missing: Sequence[str], total: int, folder: Path) -> str:
    """Returns the sentence about pictures whose files are missing."""
    return (
        f"{len(missing)} of {total} pictures {_are_not_in(missing, folder)}; name the folder with --images, or leave "
        "out what is missing with --skip-missing"
    )


def renamed_note(renamed: Sequence[tuple[str, str]], folder: Path) -> str:
    """Returns the sentence about pictures that were found under other names than the annotations give."""
    name, found = renamed[0]
    return (
        f"{counted(len(renamed), 'picture has', 'pictures have')} another file name in {folder} than in the "
        f"annotations: {one_line(name)} was found as {one_line(found)}"
    )


def _are_not_in(missing: Sequence[str], folder: Path) -> str:
    """Returns the part of a sentence that says which pictures are missing."""
    others = " and others" if len(missing) > 1 else ""
    return f"{'is' if len(missing) == 1 else 'are'} not in {folder} ({one_line(missing[0])}{others})"
