"""Writes COCO files, and data-set folders that training, evaluation and report find their way in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.coco import complete_index
from keras_mrcnn.data.formats.writing.folders import NewFolder, name_in_folder
from keras_mrcnn.data.formats.writing.parts import UNNAMED, Part


def write_folder(parts: Mapping[str, Part], folder: NewFolder) -> list[str]:
    """Writes annotations/PART.json, and images/PART with links to the pictures.

    Args:
        parts: the parts by name, checked.
        folder: where to write.

    Returns:
        Sentences that the user should see.
    """
    for name, part in parts.items():
        write_file(part.content, folder.file(PurePosixPath("annotations", f"{name}.json")))
        for image in part.content["images"]:
            folder.link(part.pictures.get(image["id"]), PurePosixPath("images", name) / name_in_folder(image))
    return []


def write_file(content: dict, path: Path) -> None:
    """Writes the content of a COCO file with one record on each line, in the order of the content.

    Annotations get `area` and `iscrowd` where they lack them. Scores stay.

    Args:
        content: content of a COCO file, checked.
        path: path of the file.

    Raises:
        UserError: a record holds a value that JSON does not have, such as NaN.
    """
    content = complete_index(content).dataset
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(_lines(content))


def annotation_name(image: dict) -> PurePosixPath:
    """Returns the path below the folder of the annotations of an image, in a data set without named parts."""
    return PurePosixPath("annotations", f"{UNNAMED}.json")


def is_own(path: Path, name: PurePosixPath) -> bool:
    """Returns whether a file, by its path below the folder, is one that `write_folder` writes."""
    return name.parts[:-1] == ("annotations",) and name.suffix == ".json"


def _lines(content: dict) -> Iterator[str]:
    """Gives the text of a COCO file."""
    before = "{"
    for key, value in content.items():
        yield f"{before}\n{json.dumps(key)}: "
        before = ","
        if isinstance(value, list) and value:
            texts = [_text(record, key) for record in value]
            yield "[\n" + ",\n".join(texts) + "\n]"
        else:
            yield _text(value, key)
    yield "\n}\n"


def _text(value: Any, key: str) -> str:
    """Returns a value as JSON; pycocotools has the counts of run-length codes as bytes."""
    try:
        return json.dumps(value, allow_nan=False, default=lambda counts: counts.decode("ascii"))
    except ValueError as error:
        place = f", id {value['id']}," if isinstance(value, dict) and "id" in value else ""
        raise UserError(
            f"an entry of '{key}'{place} holds a number that JSON does not have (NaN or infinite); correct it"
        ) from error
