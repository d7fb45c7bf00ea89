"""Writes ranked suspects as JSON, as CSV and as contact sheets, and reads them for the report.

    OUT/suspects.json   all suspects, with where they come from
    OUT/suspects.csv    the same as a table, a row for each suspect
    OUT/missing.jpg     the most suspicious ones of each kind, where there are any; also class, mask, spurious
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from keras_mrcnn.base.atomic_files import atomic_write
from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.tables import text_table
from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.evaluation.tables import read_json, write_json
from keras_mrcnn.suspects.pictures import suspect_sheet
from keras_mrcnn.suspects.ranking import KINDS, Suspect

JSON_NAME, CSV_NAME = "suspects.json", "suspects.csv"
KIND_TITLES = {
    "missing": "Missing objects",
    "class": "Wrong classes",
    "mask": "Bad masks and boxes",
    "spurious": "Annotations without an object",
}
COLUMNS = (
    "kind", "rank", "score", "image_id", "file_name", "annotation_id", "class", "proposed_class", "detection_score",
    "bbox", "proposed_bbox",
)  # fmt: skip

Ranking = Mapping[str, list[Suspect]]


def suspect_rows(ranking: Ranking, dataset: CocoDataset) -> list[dict]:
    """Returns a dict for each suspect, the kinds one after another: the values of `COLUMNS`, None where there is none.

    Args:
        ranking: result of `rank_suspects`.
        dataset: the data set that it is of.
    """
    names = {number: category["name"] for number, category in dataset.coco.cats.items()}
    rows = []
    for kind, suspects in ranking.items():
        for rank, suspect in enumerate(suspects, start=1):
            annotation, detection = suspect.annotation or {}, suspect.detection or {}
            row = {
                "kind": kind,
                "rank": rank,
                "score": round(suspect.score, 4),
                "image_id": suspect.image_id,
                "file_name": dataset.file_name(suspect.image_id),
                "annotation_id": annotation.get("id"),
                "class": names.get(annotation.get("category_id")),
                "proposed_class": names.get(detection.get("category_id")),
                "detection_score": detection.get("score"),
                "bbox": annotation.get("bbox"),
                "proposed_bbox": detection.get("bbox"),
            }
            rows.append(row)
    return rows


def write_suspects(folder: Path, ranking: Ranking, dataset: CocoDataset, source: str, pictures: int) -> list[str]:
    """Writes the suspects into a folder, over those of an earlier call.

    Args:
        folder: the folder; made if it does not exist.
        ranking: result of `rank_suspects`.
        dataset: the data set that it is of.
        source: what the detections come from, for people.
        pictures: how many of each kind to draw.

    Returns:
        The names of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sheets = {kind: f"{kind}.jpg" for kind in KINDS if pictures and ranking[kind]}
    for kind in KINDS:
        path = folder / f"{kind}.jpg"
        if kind not in sheets:
            path.unlink(missing_ok=True)  # of an earlier call; it would contradict the lists
            continue
        with atomic_write(path) as temporary:
            Image.fromarray(suspect_sheet(dataset, ranking[kind][:pictures])).save(temporary, format="JPEG", quality=90)
    rows = suspect_rows(ranking, dataset)
    with atomic_write(folder / CSV_NAME) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    content = {"data": dataset.source, "images": len(dataset), "detections": source, "pictures": sheets}
    write_json(folder / JSON_NAME, {**content, "suspects": rows})
    return [JSON_NAME, CSV_NAME, *sheets.values()]


def read_suspects(folder: Path) -> dict:
    """Reads suspects.json of a folder that `write_suspects` has written.

    Raises:
        UserError: there is none, or it is damaged; the message names it.
    """
    path = folder / JSON_NAME
    if not path.is_file():
        raise UserError(f"{folder}: has no {JSON_NAME}; name a folder that `keras-mrcnn data suspects` has written")
    content = read_json(path)
    if not {"data", "images", "detections", "pictures", "suspects"} <= content.keys():
        raise UserError(f"{path} lacks fields; write it again with `keras-mrcnn data suspects`")
    return content


def format_suspects(rows: list[dict], top: int) -> str:
    """Returns the first suspects of each kind as plain-text tables.

    Args:
        rows: result of `suspect_rows`.
        top: how many of each kind.
    """
    return "\n\n".join(_table(kind, [row for row in rows if row["kind"] == kind], top) for kind in KINDS)


def _table(kind: str, rows: list[dict], top: int) -> str:
    """Returns the table of one kind."""
    title = f"{KIND_TITLES[kind]}: {len(rows)}"
    if not rows:
        return title
    head = ("image", "annotation", "class", "detected", "score")
    lines = [
        (row["file_name"], str(row["annotation_id"] or "-"), row["class"], row["proposed_class"], row["score"])
        for row in rows[:top]
    ]
    return f"{title}\n{text_table([head, *lines], left_columns=4)}"
