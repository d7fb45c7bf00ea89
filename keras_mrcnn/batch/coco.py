"""The detections of a results folder as COCO results."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Optional, TextIO

from keras_mrcnn.base.atomic_files import atomic_write
from keras_mrcnn.base.errors import UserError
from keras_mrcnn.batch.parts import Counts, read_manifest, read_parts

DETECTIONS, IMAGES = "detections.json", "images.json"
FILE_SUFFIX = ".json"


def write_coco(folder: Path, out: Path) -> Counts:
    """Writes the detections as COCO results, and which image has which id.

    Args:
        folder: results folder whose parts are all there.
        out: file that ends in .json, for the results alone; or folder, for detections.json and images.json, as
            `keras-mrcnn predict` writes them without parts.

    Returns:
        How many images and detections were written.

    Raises:
        UserError: the files exist already, or parts are missing or damaged.
    """
    is_file = out.suffix == FILE_SUFFIX
    results, images = (out, None) if is_file else (out / DETECTIONS, out / IMAGES)
    for path in filter(None, (results, images)):
        if path.exists():
            raise UserError(f"{path} exists and is not replaced; name another {'file' if is_file else 'folder'}")
    counts, categories = Counts(), read_manifest(folder)["categories"]
    results.parent.mkdir(parents=True, exist_ok=True)
    with _opened(results) as result_file, _opened(images) as image_file:
        result_list, image_list = _JsonList(result_file, "[", "]"), _JsonList(image_file, '{"images": [', "],")
        for row in read_parts(folder):
            if not row["detection"]:  # the first of an image, or none
                image_list.add(_image(row))
                counts += Counts(pictures=1)
            if row["detection"] is not None:
                result_list.add(_result(row, row["category_id"]))
                counts += Counts(detections=1)
        result_list.end()
        image_list.end()
        if image_file is not None:
            image_file.write(f'"annotations": [], "categories": {json.dumps(categories)}}}\n')
    return counts


def results_of(folder: Path, category_ids: Mapping[str, int]) -> list[dict[str, Any]]:
    """Reads the detections of some classes as COCO results, which are all in memory.

    Args:
        folder: results folder whose parts are all there.
        category_ids: category id to give to each class name; detections of other classes are left out.

    Raises:
        UserError: parts are missing or damaged.
    """
    rows = (row for row in read_parts(folder) if row["class_name"] in category_ids)
    return [_result(row, category_ids[row["class_name"]]) for row in rows]


def _image(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": row["image_id"], "file_name": row["image"], "height": row["height"], "width": row["width"]}


def _result(row: Mapping[str, Any], category_id: int) -> dict[str, Any]:
    """Returns a detection as `Detections.to_coco` gives it."""
    x0, y0, x1, y1 = (row[name] for name in ("x0", "y0", "x1", "y1"))
    result = {
        "image_id": row["image_id"],
        "category_id": category_id,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "score": row["score"],
    }
    if row["mask_counts"] is not None:
        result["segmentation"] = {"size": [row["height"], row["width"]], "counts": row["mask_counts"]}
    return result


class _JsonList:
    """Writes a list into a JSON file, a record on each line; without a file it does nothing."""

    def __init__(self, file: Optional[TextIO], start: str, end: str) -> None:
        self._file, self._before, self._end = file, f"{start}\n", end

    def add(self, record: Mapping[str, Any]) -> None:
        """Adds a record."""
        if self._file is not None:
            self._file.write(self._before + json.dumps(record))
            self._before = ",\n"

    def end(self) -> None:
        """Ends the list."""
        if self._file is not None:
            self._file.write(("" if self._before == ",\n" else self._before) + f"\n{self._end}\n")


@contextlib.contextmanager
def _opened(path: Optional[Path]) -> Iterator[Optional[TextIO]]:
    """Opens a new file that appears whole or not at all; gives None for None."""
    if path is None:
        yield None
        return
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        yield file
