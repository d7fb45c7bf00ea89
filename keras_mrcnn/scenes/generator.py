"""A generated, seeded data set in COCO format: vehicles, people and animals in scenes of 1 to 10 objects.

It exists so that everything can be trained, evaluated and tested without a download, on a task that is not
trivial: articulated shapes with several sub-types a class, textured backgrounds, distractors, occlusion up to
60 %, and no class told by colour. Masks are exact: the pixels of which an object covers at least half and that
nothing in front of it covers.

Scene `i` of a split depends on the seed, the split and `i` alone, not on the number of scenes or workers.
"""

import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from pathlib import Path

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
VERSION = 1  # raise it whenever the same parameters give other pictures


@dataclass(frozen=True)
class GeneratedScenes:
    """What `generate_scenes` made or found.

    Args:
        folder: the data set's folder.
        created: False where the folder already held this data set and nothing was drawn.
        annotation_files: dict, "train" and "val" -> path of the COCO JSON file.
        image_folders: dict, "train" and "val" -> path of the images' folder.
    """

    folder: Path
    created: bool
    annotation_files: dict
    image_folders: dict

    def __str__(self):
        if self.created:
            return f"Wrote the scenes to {self.folder}."
        return f"{self.folder} already holds these scenes; nothing was drawn."


def generate_scenes(
    folder,
    *,
    num_train,
    num_val,
    seed=0,
    height_range=(224, 288),
    width_range=(224, 288),
    workers=None,
    progress=None,
    overwrite=False,
):
    """Draws a data set of scenes: `annotations/{train,val}.json` and `images/{train,val}/000001.jpg` ...

    The annotation files are written last and each file appears whole or not at all, so an interrupted run is never
    taken for a data set; calling it again starts over.

    Args:
        folder: where to write; made if missing.
        num_train, num_val: number of scenes in each split, at least 1.
        seed: whole number, 0 or more.
        height_range, width_range: (least, greatest) side of the images in pixels, both included, at least 64.
        workers: number of processes; None for one a CPU. 1 draws in this process.
        progress: None, a tqdm bar (its `update(1)` is called for each scene), or a callable taking (done, total).
        overwrite: whether to replace scenes that were made with other parameters. Other data is never replaced.

    Returns:
        `GeneratedScenes`; its `created` is False where the folder already held this data set.

    Raises:
        ValueError: a parameter makes no sense.
        FileExistsError: the folder holds something else.

    Example:
        >>> import tempfile
        >>> made = generate_scenes(tempfile.mkdtemp(), num_train=2, num_val=1, workers=1)
        >>> made.created
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


def _checked_parameters(num_train, num_val, seed, height_range, width_range, workers):
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


def _marker(folder):
    """The file that stands in the folder while it is being filled."""
    return folder / "scenes.partial.json"


def _holds(folder, files, parameters, overwrite):
    """Whether the folder holds just this data set; raises if it holds what must not be replaced."""
    if _marker(folder).exists():
        return False
    found = [_read_info(path) for path in files.values()]
    if all(info == parameters for info in found):
        return True
    if found == [None, None] and not (folder / "images").exists():
        return False
    ours = [info for info in found if info is not None]
    if not ours or any(info.get("generator") != GENERATOR for info in ours):
        raise FileExistsError(f"{folder} holds data that is not generated scenes: choose another folder.")
    if not overwrite:
        raise FileExistsError(
            f"{folder} holds scenes {_difference(ours, parameters)}: choose another folder, or replace them with "
            "--overwrite (in Python: overwrite=True)."
        )
    return False


def _difference(infos, parameters):
    """In which parameters the scenes found differ from those asked for, in the words of the command line."""
    changed = {}
    for name, asked in parameters.items():
        others = [info.get(name) for info in infos if info.get(name) != asked]
        if others:
            changed[OPTION_OF.get(name, name)] = f"{others[0]} (asked for: {asked})"
    if not changed:
        return "of which an annotation file is missing"
    return f"made with {', '.join(f'{option} {values}' for option, values in changed.items())}"


def _clear(files, images):
    """Makes the folders and removes earlier scenes, annotations first; touches nothing that was not generated."""
    for path in files.values():
        path.unlink(missing_ok=True)
    for split in SPLITS:
        files[split].parent.mkdir(parents=True, exist_ok=True)
        images[split].mkdir(parents=True, exist_ok=True)
        for pattern in ("[0-9]" * 6 + ".jpg", ".*.tmp"):
            for stale in images[split].glob(pattern):
                stale.unlink()


def _read_info(path):
    """The `info` of a COCO file, {} where it has none or is no JSON, None where there is no such file."""
    if not path.exists():
        return None
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["info"])
    except (ValueError, KeyError, TypeError):
        return {}


def _write_json(path, content):
    with atomic_write(path, only_writer=True) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")


def _draw_all(parameters, images, workers, progress):
    """Draws and writes the scenes of both splits; returns for each split its list of (image, annotations)."""
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


def _run(work, jobs, workers):
    if workers == 1:
        yield from map(work, jobs)
        return
    # Spawned rather than forked: TensorFlow, which the caller may have loaded, does not survive a fork.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            yield from pool.map(work, jobs, chunksize=8)
        except BrokenProcessPool as error:
            raise UserError(
                "The drawing processes did not start or died: call generate_scenes under "
                "`if __name__ == '__main__':` or pass workers=1."
            ) from error


def _write_scene(parameters, images, job):
    """Draws one scene and writes its picture; returns its COCO image and its annotations, still without ids."""
    split, index = job
    rng = np.random.default_rng([parameters["seed"], SPLITS.index(split), index])
    image, objects = draw_scene(rng, parameters["height_range"], parameters["width_range"])
    name = f"{index + 1:06d}.jpg"
    with atomic_write(Path(images[split], name), only_writer=True) as temporary:
        Image.fromarray(image).save(temporary, format="JPEG", quality=95, subsampling=0)
    height, width = image.shape[:2]
    record = {"id": index + 1, "file_name": name, "height": height, "width": width}
    return record, [_annotation(item, index + 1) for item in objects]


def _annotation(item, image_id):
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


def _coco(parameters, records):
    annotations = [annotation for _, scene in records for annotation in scene]
    return {
        "info": parameters,
        "categories": [{"id": i, "name": name} for i, name in enumerate(CATEGORIES, start=1)],
        "images": [image for image, _ in records],
        "annotations": [{"id": i, **annotation} for i, annotation in enumerate(annotations, start=1)],
    }
