"""Detects the objects of every image with a model that was not trained on it: cross-validation, which can be resumed.

    OUT/folds.json             what the folds are made of; the images of each
    OUT/fold-1/train.json      annotations of the images that the first model is trained on
    OUT/fold-1/run/            its run, see `StagedTrainer`
    OUT/fold-1/held_out.json   its detections in the images of the fold, as COCO results, and their scores
    OUT/prepared/              the training data of all folds, prepared
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.config import Config
from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.data.splits import divide_into_folds, part_of
from keras_mrcnn.evaluation.evaluator import evaluate_model
from keras_mrcnn.evaluation.tables import read_json, write_json
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.training.trainer import StagedTrainer

HELD_OUT = "held_out.json"


class Detected(NamedTuple):
    """What a model detects in the images of a data set.

    Args:
        results: COCO results, with the category ids of the data set.
        scores: box and mask scores on the annotations, as `evaluate_model` returns them.
        category_ids: the categories that the model knows.
    """

    results: list[dict]
    scores: dict
    category_ids: list[int]


def cross_validate(
    content: dict,
    image_folder: Path,
    config: Config,
    folder: Path,
    *,
    folds: int,
    by: str | None = None,
    seed: int = 0,
    verbose: int = 1,
) -> list[Detected]:
    """Trains a model for each fold on all others, and detects the objects in the images of the fold.

    Nothing is done twice: a later call with the same data and settings goes on where the last one ended, in the middle
    of a training too. No model sees anything of its own fold, so each stage ends with its last epoch.

    Args:
        content: content of a COCO file.
        image_folder: folder that its file names are relative to.
        config: settings of the model and its training; its data are replaced.
        folder: folder for the runs and the detections.
        folds: number of folds, at least 2.
        by, seed: of the division into folds, see `divide_into_folds`.
        verbose: as for `StagedTrainer`.

    Returns:
        `Detected` of each fold.

    Raises:
        UserError: the folder holds folds of other data or settings, or the data cannot be divided.
    """
    import keras  # not at the top: ranking needs no Keras, so this package does not choose its backend

    parts = _resume(content, config, folder, folds, by, seed)
    ids = {image["id"] for image in content["images"]}
    detected = []
    for number, held_out in enumerate(parts, start=1):
        place = folder / f"fold-{number}"
        if not (place / HELD_OUT).is_file():
            _train(part_of(content, ids - held_out), image_folder, config, place, verbose)
            _detect(part_of(content, held_out), image_folder, place, config.data.eval_batch_size)
            keras.backend.clear_session()
        detected.append(Detected(**read_json(place / HELD_OUT)))
    return detected


def detect(model: MaskRCNN, content: dict, image_folder: Path, batch_size: int = 1) -> Detected:
    """Detects the objects in all images of a data set.

    Args:
        model: `MaskRCNN` that knows some of the classes, by name.
        content: content of a COCO file.
        image_folder: folder that its file names are relative to.
        batch_size: the most images of one size that go through the network at once.

    Returns:
        `Detected`; where some objects have no mask, the scores are of boxes alone.

    Raises:
        UserError: the model knows none of the classes, or an image cannot be read.
    """
    names = [category["name"] for category in content["categories"]]
    known = [name for name in names if name in model.config.class_names]
    if not known:
        raise UserError(
            f"the model knows the classes {', '.join(model.config.class_names)}, and the data have {', '.join(names)}; "
            "take a model that knows some of them"
        )
    dataset = CocoDataset(content, image_folder, known, model.config.channels)
    has_masks = all(item.get("segmentation") for item in content["annotations"])
    stages = ("box", "mask") if has_masks else ("box",)
    scores, results = evaluate_model(model, dataset, stages, batch_size=batch_size)
    return Detected(results, scores, list(dataset.category_ids))


def _resume(content: dict, config: Config, folder: Path, folds: int, by: str | None, seed: int) -> list[set[int]]:
    """Returns the folds; writes what they are made of, or checks that it is what the folder was begun with."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    settings = config.model_dump(mode="json")
    made_of = {"annotations": digest, "folds": folds, "by": by, "seed": seed, "settings": settings}
    record = folder / "folds.json"
    if record.is_file():
        earlier = read_json(record)
        other = [name for name, value in made_of.items() if earlier.get(name) != value]
        if other:
            raise UserError(f"{folder}: was begun with other {' and '.join(other)}; take the same, or another folder")
        return [set(fold) for fold in earlier["images"]]
    parts = divide_into_folds(content, folds, by, seed)
    write_json(record, {**made_of, "images": [sorted(part) for part in parts]})
    return parts


def _train(content: dict, image_folder: Path, config: Config, place: Path, verbose: int) -> None:
    """Trains the model of a fold, from its last checkpoint if there is one."""
    run = place / "run"
    if (run / "model.safetensors").is_file():
        return
    write_json(place / "train.json", content)
    data = {
        "train_annotations": str(place / "train.json"),
        "train_images": str(image_folder),
        "val_annotations": None,
        "val_images": None,
        "prepared_folder": config.data.prepared_folder or str(place.parent / "prepared"),
    }
    config = config.model_copy(update={"data": config.data.model_copy(update=data)})
    StagedTrainer(config, run, resume=(run / "checkpoint.safetensors").is_file(), verbose=verbose).fit()


def _detect(content: dict, image_folder: Path, place: Path, batch_size: int) -> None:
    """Writes the detections and the scores of a fold."""
    model = MaskRCNN.from_preset(place / "run")
    write_json(place / HELD_OUT, detect(model, content, image_folder, batch_size)._asdict())
