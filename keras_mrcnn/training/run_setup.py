"""Sets up a run: its folder, its data and classes, its initial weights."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from tqdm import tqdm

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.config import Config
from keras_mrcnn.data.prepare import prepare_dataset
from keras_mrcnn.data.prepared import PreparedDataset, is_prepared
from keras_mrcnn.data.storage import join
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.training.checkpoint import Progress
from keras_mrcnn.weights import WeightsError, load_backbone, read_weights

logger = logging.getLogger(__name__)


def check_folder(folder: Path, checkpoint: Path, resume: bool) -> None:
    """Checks that a run folder suits a new or a resumed run.

    Raises:
        FileNotFoundError: there is no checkpoint to resume from.
        FileExistsError: the folder of a new run holds a run already.
    """
    if resume and not checkpoint.is_file():
        raise FileNotFoundError(f"{folder}: holds no checkpoint to resume from; train without --resume")
    if not resume and (checkpoint.is_file() or (folder / "model.safetensors").is_file()):
        raise FileExistsError(f"{folder}: holds a run already; resume it with --resume, or name another folder")


def shared_settings(config: Config, progress: Progress, data: PreparedDataset) -> dict[str, Any]:
    """Returns the settings that must be the same in all workers, a flat dict; paths of the data may differ."""
    settings = _flat(config.model_dump(mode="json"))
    own = ("_annotations", "_images", "prepared_folder")
    shared = {key: value for key, value in settings.items() if not key.endswith(own)}
    return {**shared, "the checkpoint": tuple(progress), "the training data": data.key}


def _flat(tree, prefix=""):
    """Flattens nested dicts to one with dotted keys."""
    flat = {}
    for key, value in tree.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def load_initial_weights(model: MaskRCNN, config: Config) -> None:
    """Fills a new model from train.weights, or its backbone from model.backbone.weights, if they are set."""
    backbone = config.model.backbone
    if config.train.weights:
        _load_whole(model, config.train.weights)
    elif backbone.weights:
        load_backbone(model.backbone, backbone.weights)
        if config.model.channels == 4 and backbone.freeze_stages:
            logger.warning(
                "The fourth channel begins with weights of zero, and model.backbone.freeze_stages %d keeps it so; set "
                "freeze_stages=0 for it to be learnt.",
                backbone.freeze_stages,
            )
    elif backbone.freeze_stages or backbone.norm == "frozen_bn":
        logger.warning(
            "The backbone starts from random weights, but model.backbone.freeze_stages is %d and norm is %s, so that "
            "parts of it stay random; set freeze_stages=0 and norm=bn, or model.backbone.weights or train.weights.",
            backbone.freeze_stages,
            backbone.norm,
        )


def _load_whole(model, file):
    try:
        model.load_pretrained(file)
    except WeightsError as error:
        read_weights(file, anchors=model.config.rpn)  # raises if the fault is in the file, not in the settings
        hint = f"`keras-mrcnn weights inspect {file} --yaml` prints the model settings of the file"
        raise WeightsError(f"{error}; {hint}") from None


def with_classes(config: Config, train_data: PreparedDataset, val_data: PreparedDataset | None) -> Config:
    """Returns the config with the classes of the training data.

    Raises:
        UserError: the validation data or the config have other classes.
    """
    names = tuple(train_data.class_names)
    if val_data is not None and tuple(val_data.class_names) != names:
        raise UserError(
            f"{config.data.val_annotations}: has the classes {', '.join(val_data.class_names)}, the training data "
            f"{', '.join(names)}; use the same, or choose those in both with data.class_names"
        )
    if config.model.class_names and tuple(config.model.class_names) != names:
        raise UserError(
            f"{config.data.train_annotations}: has the classes {', '.join(names)}, but model.class_names are "
            f"{', '.join(config.model.class_names)}; train on data with these, or leave model.class_names out"
        )
    classes = {"class_names": names, "category_ids": tuple(train_data.category_ids)}
    return config.model_copy(update={"model": config.model.model_copy(update=classes)})


def open_data(config: Config, split: str, run_folder: Path, progress: bool = False) -> PreparedDataset:
    """Opens the data of a split, "train" or "val"; prepares them if they are not.

    Args:
        config: the settings of the run.
        split: "train" or "val".
        run_folder: folder of the run; unless `data.prepared_folder` names another place, data are prepared in the
            folder `prepared` beside it, where other runs find them.
        progress: whether to show a progress bar.

    Raises:
        UserError: the settings name no data, or data that were prepared with another `data.mask_size`.
        DataError: the check found problems and `data.skip_bad` is off.
    """
    data, model = config.data, config.model
    annotations, images = getattr(data, f"{split}_annotations"), getattr(data, f"{split}_images")
    if not annotations or not (images or is_prepared(annotations)):
        raise UserError(f"data.{split}_annotations and data.{split}_images must be set to train")
    folder = annotations
    if not is_prepared(annotations):
        folder = prepared_folder(
            data.prepared_folder or run_folder.absolute().parent / "prepared", annotations, images, data.mask_size
        )
        with tqdm(desc=f"prepare {split}", unit="image", leave=False, disable=None if progress else True) as bar:

            def show(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            prepared = prepare_dataset(
                annotations, images, folder, mask_size=data.mask_size, skip_bad=data.skip_bad, progress=show
            )
        if prepared.manifest["left_out"]:
            dropped = ", ".join(f"{count} {kind}" for kind, count in prepared.manifest["left_out"].items())
            logger.warning("%s: dropped %s", annotations, dropped)
    opened = PreparedDataset(folder, data.class_names, model.channels)
    if opened.mask_size != data.mask_size:
        raise UserError(
            f"{folder} was prepared with masks of side {opened.mask_size}, but data.mask_size is {data.mask_size}; set "
            f"data.mask_size={opened.mask_size}, or prepare the data again"
        )
    return opened


def prepared_folder(root: str | Path, annotations: str, images: str, mask_size: int) -> str:
    """Returns the folder in `root` for data of one annotation file and image folder, with masks of one size."""
    source = json.dumps([*(str(Path(path).absolute()) for path in (annotations, images)), mask_size])
    return join(str(root), f"{Path(annotations).stem}-{hashlib.sha256(source.encode()).hexdigest()[:8]}")
