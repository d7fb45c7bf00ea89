"""Reads COCO files as many programs write them, and puts their oddities right.

The records themselves are not judged here: `data.check` lists everything that is wrong with them.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.image_files import read_image_size
from keras_mrcnn.data.coco import load_annotations
from keras_mrcnn.data.formats.collector import Annotations, CrowdQuestion, missing_error, missing_note, renamed_note
from keras_mrcnn.data.formats.files import counted, one_line
from keras_mrcnn.data.formats.folders import (
    SAMPLE,
    PictureFolder,
    choose_folder,
    inside_name,
    last_parts,
    usual_folders,
)
from keras_mrcnn.data.formats.names import split_name
from keras_mrcnn.data.records import is_id, is_name

CROWDS = ("ask", "objects", "regions")
_BACKGROUND = "_background_"


def read_coco(path: Path, images: Path | None, crowds: str = "ask", skip_missing: bool = False) -> Annotations:
    """Reads a COCO file.

    Args:
        path: path of the file.
        images: folder of the pictures, or None to look for it.
        crowds: "regions" keeps crowd regions (iscrowd 1), "objects" makes objects of them, and "ask" keeps them unless
            a program seems to have marked objects so.
        skip_missing: whether pictures without a file are left out and counted.

    Returns:
        `Annotations` with the records of the file. File names are those of the pictures that exist, and missing sizes
        are filled in.

    Raises:
        CrowdQuestion: `crowds` is "ask", and all masks are marked as crowd regions.
        UserError: the file is not COCO JSON, or the sizes of pictures are not known.
    """
    content, notes = load_annotations(path), []
    annotations = _crowds_answered(content["annotations"], crowds, path, notes)
    categories = _without_oddities(content["categories"], annotations, notes)
    annotations = _without_id_0(annotations, notes)
    names = [record["file_name"] for record in content["images"] if _has_name(record)]
    folder = _image_folder(path, images, names)
    files = _Files(folder, path, skip_missing)
    records = [kept for record in content["images"] for kept in files.completed(record)]
    notes += files.notes(len(records))
    if files.missing and not records:
        raise UserError(f"no picture of {path} is in {folder.path}; name their folder with --images")
    kept = [record for record in annotations if _id(record, "image_id") not in files.left_out]
    skipped = Counter({"missing picture": len(content["images"]) - len(records)})
    skipped["object of a missing picture"] = len(annotations) - len(kept)
    notes += _without_masks(kept)
    content = {**content, "images": records, "annotations": kept, "categories": categories}
    return Annotations(content, folder.path, "coco", dict(+skipped), tuple(notes))


def _crowds_answered(annotations: list, crowds: str, path: Path, notes: list[str]) -> list:
    """Returns the annotations with the crowd regions that are meant."""
    marked = [record for record in annotations if _is_crowd(record)]
    if crowds == "ask" and marked and _are_objects(annotations, marked):
        raise CrowdQuestion(
            f"all masks of {path} ({len(marked)}) are marked as crowd regions (iscrowd 1), as CVAT does with masks of "
            "objects; say --crowds objects if each is one object, or --crowds regions if each is a region of many"
        )
    if crowds != "objects" or not marked:
        return annotations
    became = "crowd region (iscrowd 1) became an object", "crowd regions (iscrowd 1) became objects"
    notes.append(counted(len(marked), *became))
    return [{**record, "iscrowd": 0} if _is_crowd(record) else record for record in annotations]


def _is_crowd(record: Any) -> bool:
    """Returns whether an annotation is marked as a crowd region."""
    return isinstance(record, dict) and isinstance(record.get("iscrowd"), int) and record["iscrowd"] == 1


def _are_objects(annotations: list, marked: list[dict]) -> bool:
    """Returns whether crowd regions seem to be objects: there is nothing else, or each has CVAT's attributes."""
    records = [record for record in annotations if isinstance(record, dict)]
    codes = [record for record in records if isinstance(record.get("segmentation"), dict)]
    by_cvat = all(isinstance(record.get("attributes"), dict) for record in marked) and all(map(_is_crowd, codes))
    return len(marked) == len(annotations) or by_cvat


def _without_oddities(categories: list, annotations: list, notes: list[str]) -> list:
    """Returns the categories without the background and without the one that stands for a whole project of Roboflow."""
    used = {_id(record, "category_id") for record in annotations}
    others = [record for record in categories if isinstance(record, dict) and record.get("id") != 0]
    names = {record[key] for record in others for key in ("name", "supercategory") if isinstance(record.get(key), str)}
    kept = []
    for record in categories:
        name = record.get("name") if isinstance(record, dict) else None
        is_odd = isinstance(name, str) and (name == _BACKGROUND or (_id(record) == 0 and name in names))
        if is_odd and _id(record) not in used:
            notes.append(f"the category {one_line(name)!r} with the id {_id(record)} has no objects and is left out")
        else:
            kept.append(record)
    return kept


def _without_id_0(annotations: list, notes: list[str]) -> list:
    """Returns the annotations without the id 0."""
    ids = [number for number in map(_id, annotations) if number is not None]
    if 0 not in ids:
        return annotations
    free = max(*ids, 0) + 1
    notes.append(f"annotation 0 has the new id {free}, because COCO's evaluation takes the id 0 for no object")
    return [{**record, "id": free} if _id(record) == 0 else record for record in annotations]


def _id(record: Any, name: str = "id") -> int | None:
    """Returns an id of a record, or None if it is malformed."""
    value = record.get(name) if isinstance(record, dict) else None
    return value if is_id(value) else None


def _has_name(record: Any) -> bool:
    """Returns whether an image record has a file name."""
    return isinstance(record, dict) and is_name(record.get("file_name"))


def _without_masks(annotations: list) -> list[str]:
    """Returns a sentence about objects that have only a box."""
    records = [record for record in annotations if isinstance(record, dict) and not _is_crowd(record)]
    count = sum(record.get("segmentation") in (None, []) for record in records)
    if not count:
        return []
    have = "has" if count == 1 else "have"
    return [f"{count} of {len(records)} objects {have} a box and no mask; --skip-bad leaves out what has none"]


def _image_folder(path: Path, images: Path | None, names: list[str]) -> PictureFolder:
    """Returns the folder of the pictures of a COCO file."""
    here, stem = path.resolve().parent, path.stem
    parts = dict.fromkeys([stem, stem.rpartition("_")[2], split_name(stem.rpartition("_")[2]) or stem])
    roots = [images] if images else [here.parent / "images", here.parent, here / "images", here]
    candidates = [root / part for root in roots for part in parts]
    candidates = [*candidates, images] if images else [*candidates, *usual_folders(here)]
    sample = names[:: max(len(names) // SAMPLE, 1)]
    return choose_folder(candidates, [[name] for name in sample])


class _Files:
    """Finds the files of the pictures of one COCO file."""

    def __init__(self, folder: PictureFolder, path: Path, skip_missing: bool) -> None:
        self.folder, self.path, self.skip_missing = folder, path, skip_missing
        self.left_out: set[int] = set()
        self.missing: list[str] = []
        self.without_size: list[str] = []
        self.renamed: list[tuple[str, str]] = []
        self.used: dict[str, str] = {}

    def completed(self, record: Any) -> list:
        """Returns a list of an image record with the name and the size of its file; it is empty if it is left out."""
        if not _has_name(record):
            return [record]
        name, needs_size = record["file_name"], None in (record.get("height"), record.get("width"))
        found = self.folder.find([name])
        if found is None:
            self.missing.append(name)
            if self.skip_missing:
                self.left_out |= {_id(record)} - {None}
                return []
            self.without_size += [name] * needs_size
            return [{**record, "file_name": name if inside_name(name) == name else last_parts(name) or "picture"}]
        if self.used.setdefault(found, name) != name:
            both = f"{one_line(self.used[found])} and {one_line(name)}"
            raise UserError(f"{both} of {self.path} both mean {one_line(found)}; name their folder with --images")
        if found != inside_name(name):
            self.renamed.append((name, found))
        height, width = read_image_size(self.folder.path / found) if needs_size else (record["height"], record["width"])
        return [{**record, "file_name": found, "height": height, "width": width}]

    def notes(self, total: int) -> list[str]:
        """Returns what the user should know.

        Raises:
            UserError: the sizes of missing pictures are not known.
        """
        if self.without_size:
            raise missing_error(self.without_size, self.path, self.folder.path)
        notes = [renamed_note(self.renamed, self.folder.path)] if self.renamed else []
        if self.missing and not self.skip_missing:
            notes.append(missing_note(self.missing, total, self.folder.path))
        return notes
