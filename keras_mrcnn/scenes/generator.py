"""Generates a seeded data set in COCO format: vehicles, people and animals in scenes of 1 to 10 objects.

With it everything can be trained, evaluated and tested without a download, on a task that is not trivial: articulated
shapes with several subtypes in each class, textured backgrounds, distractors, occlusion up to 60 %, and colours that
do not reveal the class. Masks are exact: a pixel belongs to an object that covers at least half of it, unless
something in front covers it.

Scene `i` of a split depends on the seed, the image sizes, the split and `i` alone, not on the number of scenes or
workers.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from keras_mrcnn.base.atomic_files import atomic_write
from keras_mrcnn.base.errors import UserError
from keras_mrcnn.scenes.drawing import SHAPES, SceneObject, draw_scene

__all__ = ["CATEGORIES", "GeneratedScenes", "SceneObject", "draw_scene", "generate_scenes"]

CATEGORIES = tuple(SHAPES)  # vehicle, person, animal; COCO category ids 1, 2, 3
SPLITS = ("train", "val")  # the position is part of the random seed, so the splits never coincide
GENERATOR = "keras_mrcnn.scenes.generator"
OPTION_OF = {"num_train": "--train", "num_val": "--val", "seed": "--seed"}  # of `keras-mrcnn data scenes`
VERSION = 1  # to be increased whenever the same parameters give different pictures


@dataclass(frozen=True)
class GeneratedScenes:
    """The paths of a data set of generated scenes.

    Args:
        folder: folder of the data set.
        created: False if the folder already held this data set, so that nothing was drawn.
        annotation_files: dict from "train" and "val" to the path of the COCO JSON file.
        image_folders: dict from "train" and "val" to the path of the folder with the images.
    """

    folder: Path
    created: bool
    annotation_files: dict[str, Path]
    image_folders: dict[str, Path]

    def __str__(self) -> str:
        if self.created:
            return f"Wrote the scenes to {self.folder}."
        return f"{self.folder} already holds these scenes; nothing was drawn."


def generate_scenes(
    folder: str | os.PathLike,
    *,
    num_train: int,
    num_val: int,
    seed: int = 0,
    height_range: Sequence[int] = (224, 288),
    width_range: Sequence[int] = (224, 288),
    workers: int | None = None,
    progress: Any = None,
    overwrite: bool = False,
) -> GeneratedScenes:
    """Draws a data set of scenes: `annotations/{train,val}.json` and `images/{train,val}/000001.jpg`, ...

    Each file appears complete or not at all, and the annotation files come last, so nobody can mistake an interrupted
    run for a data set. Another call starts over.

    Args:
        folder: folder to write to; it is made if it does not exist.
        num_train, num_val: number of scenes in each split, at least 1.
        seed: seed of the scenes, a whole number of at least 0.
        height_range, width_range: (least, greatest) side of the images in pixels, both included, at least 64.
        workers: number of processes. None starts one for each CPU; 1 draws in this process.
        progress: None, a tqdm bar (its `update(1)` is called for each scene), or a function of (done, total).
        overwrite: whether to replace scenes that were made with other parameters. Other data is never replaced.

    Returns:
        Paths of the data set; `created` is False if the folder already held it.

    Raises:
        ValueError: a parameter is out of range.
        FileExistsError: the folder holds other data.

    Example:
        >>> import tempfile
        >>> scenes = generate_scenes(tempfile.mkdtemp(), num_train=2, num_val=1, workers=1)
        >>> scenes.created
        True
    """
    parameters = _checked_parameters(num_train, num_val, seed, height_range, width_range, workers)
    folder = Path(folder)
    files = {split: folder / "annotations" / f"{split}.json" for split in SPLITS}
    images = {split: folder / "images" / split for split in SPLITS}
    if _holds(folder, files, parameters, overwrite):
        return GeneratedScenes(folder, False, files, images)
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(_marker(folder), parameters)
    _clear(files, images)
    records = _draw_all(parameters, images, workers, progress)
    for split in SPLITS:
        _write_json(files[split], _coco(parameters, records[split]))
    _marker(folder).unlink()
    return GeneratedScenes(folder, True, files, images)


def _checked_parameters(
    num_train: int,
    num_val: int,
    seed: int,
    height_range: Sequence[int],
    width_range: Sequence[int],
    workers: int | None,
) -> dict[str, Any]:
    """Returns the parameters that decide the scenes, as the `info` of the COCO files, or raises ValueError."""
    numbers = {"num_train": (num_train, 1), "num_val": (num_val, 1), "seed": (seed, 0), "workers": (workers or 1, 1)}
    for name, (value, least) in numbers.items():
        if not isinstance(value, Integral) or value < least:
            raise UserError(f"{name} is {value!r}: give a whole number of at least {least}.")
    for name, sides in (("height_range", height_range), ("width_range", width_range)):
        whole = len(sides) == 2 and all(isinstance(side, Integral) for side in sides)
        if not whole or not 64 <= sides[0] <= sides[1]:
            raise UserError(f"{name} is {sides}: give two whole numbers of pixels, least first, both at least 64.")
    return {
        "generator": GENERATOR,
        "version": VERSION,
        "seed": int(seed),
        "num_train": int(num_train),
        "num_val": int(num_val),
        "height_range": [int(side) for side in height_range],
        "width_range": [int(side) for side in width_range],
    }


def _marker(folder: Path) -> Path:
    """Returns the path of the file that marks an incomplete data set."""
    return folder / "scenes.partial.json"


def _holds(folder: Path, files: Mapping[str, Path], parameters: dict[str, Any], overwrite: bool) -> bool:
    """Returns whether the folder holds this data set; raises FileExistsError if it holds data that must stay."""
    if _marker(folder).exists():
        return False
    infos = [_read_info(path) for path in files.values()]
    if all(info == parameters for info in infos):
        return True
    if infos == [None, None] and not (folder / "images").exists():
        return False
    present = [info for info in infos if info is not None]
    if not present or any(info.get("generator") != GENERATOR for info in present):
        raise FileExistsError(f"{folder} holds data that is not generated scenes: choose another folder.")
    if not overwrite:
        raise FileExistsError(
            f"{folder} holds scenes {_difference(present, parameters)}: choose another folder, or replace them with "
            "--overwrite (in Python: overwrite=True)."
        )
    return False


def _difference(infos: Sequence[dict], parameters: dict[str, Any]) -> str:
    """Returns how existing scenes differ from the requested parameters, in terms of the command line's options."""
    changed = {}
    for name, requested in parameters.items():
        others = [info.get(name) for info in infos if info.get(name) != requested]
        if others:
            changed[OPTION_OF.get(name, name)] = f"{others[0]} (asked for: {requested})"
    if not changed:
        return "of which an annotation file is missing"
    return f"made with {', '.join(f'{option} {values}' for option, values in changed.items())}"


def _clear(files: Mapping[str, Path], images: Mapping[str, Path]) -> None:
    """Makes the folders and removes earlier scenes, annotations first; keeps every file that was not generated."""
    for path in files.values():
        path.unlink(missing_ok=True)
    for split in SPLITS:
        files[split].parent.mkdir(parents=True, exist_ok=True)
        images[split].mkdir(parents=True, exist_ok=True)
        for pattern in ("[0-9]" * 6 + ".jpg", ".*.tmp"):
            for stale in images[split].glob(pattern):
                stale.unlink()


def _read_info(path: Path) -> dict | None:
    """Returns the `info` of a COCO file, {} if it has none or is not JSON, or None if the file does not exist."""
    if not path.exists():
        return None
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["info"])
    except (ValueError, KeyError, TypeError):
        return {}


def _write_json(path: Path, content: dict) -> None:
    """Writes a JSON file, complete or not at all."""
    with atomic_write(path, only_writer=True) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")


def _draw_all(
    parameters: dict[str, Any], images: Mapping[str, Path], workers: int | None, progress: Any
) -> dict[str, list[tuple[dict, list[dict]]]]:
    """Draws the scenes of both splits and writes their images; returns (image, annotations) of each scene by split."""
    jobs = [(split, index) for split in SPLITS for index in range(parameters[f"num_{split}"])]
    work = partial(_write_scene, parameters, {split: str(path) for split, path in images.items()})
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    records = {split: [] for split in SPLITS}
    for done, (job, record) in enumerate(zip(jobs, _run(work, jobs, workers)), start=1):
        records[job[0]].append(record)
        if hasattr(progress, "update"):
            progress.update(1)
        elif progress is not None:
            progress(done, len(jobs))
    return records


def _run(work: Callable[[Any], Any], jobs: Sequence[Any], workers: int) -> Iterator[Any]:
    """Gives the results of `work` for the jobs, in their order, from several processes."""
    if workers == 1:
        yield from map(work, jobs)
        return
    # Spawned, not forked, because TensorFlow, which the caller may have loaded, does not survive a fork.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            yield from pool.map(work, jobs, chunksize=8)
        except BrokenProcessPool as error:
            raise UserError(
                "The drawing processes did not start or died: call generate_scenes under "
                "`if __name__ == '__main__':` or pass workers=1."
            ) from error


def _write_scene(
    parameters: dict[str, Any], images: Mapping[str, str], job: tuple[str, int]
) -> tuple[dict, list[dict]]:
    """Draws one scene and writes its image; returns its COCO image, and its annotations without ids."""
    split, index = job
    rng = np.random.default_rng([parameters["seed"], SPLITS.index(split), index])
    image, objects = draw_scene(rng, parameters["height_range"], parameters["width_range"])
    name = f"{index + 1:06d}.jpg"
    with atomic_write(Path(images[split], name), only_writer=True) as temporary:
        Image.fromarray(image).save(temporary, format="JPEG", quality=95, subsampling=0)
    height, width = image.shape[:2]
    record = {"id": index + 1, "file_name": name, "height": height, "width": width}
    return record, [_annotation(item, index + 1) for item in objects]


def _annotation(item: SceneObject, image_id: int) -> dict:
    """Returns the COCO annotation of an object, without an id."""
    encoded = coco_mask.encode(np.asfortranarray(item.mask, np.uint8))
    return {
        "image_id": image_id,
        "category_id": CATEGORIES.index(item.category) + 1,
        "bbox": [float(side) for side in coco_mask.toBbox(encoded)],
        "area": int(coco_mask.area(encoded)),
        "iscrowd": 0,
        "segmentation": {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode("ascii")},
        "subtype": item.subtype,
        "hidden": round(item.hidden, 4),
    }


def _coco(parameters: dict[str, Any], records: Sequence[tuple[dict, list[dict]]]) -> dict:
    """Returns the content of the COCO file of a split."""
    annotations = [annotation for _, scene in records for annotation in scene]
    return {
        "info": parameters,
        "categories": [{"id": i, "name": name} for i, name in enumerate(CATEGORIES, start=1)],
        "images": [image for image, _ in records],
        "annotations": [{"id": i, **annotation} for i, annotation in enumerate(annotations, start=1)],
    }
