"""The data sets and recipes of photographs.py: settings on top of a preset."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class DataSet:
    """A set of photographs: the folders that it joins, and the settings that its objects need.

    Attributes:
        name: in tables.
        folders: each has annotations/ and images/ with train and val.
        prefix: of the names of the annotation files.
        settings: by dotted key.
    """

    name: str
    folders: tuple[str, ...]
    prefix: str = ""
    settings: dict[str, Any] = field(default_factory=dict)


# Up to 313 objects of 7 to 80 pixels in a picture.
MANY_SMALL = {
    "model.rpn.anchor_sizes": [[8], [16], [32], [64], [128]],
    "model.roi_canonical_side": 64,
    "model.rpn.post_nms_test": 1000,
    "model.box_head.max_detections": 400,
}
DATA_SETS = {
    data.name: data
    for data in (
        DataSet("penn-fudan", ("penn-fudan",)),
        DataSet("balloon", ("balloon",)),
        DataSet("nuclei", ("nuclei",), settings=MANY_SMALL),
        DataSet("vehicle-person-animal", ("coco-mini", "coco-slice"), "vehicle_person_animal_"),
        DataSet("coco-slice", ("coco-slice",), "vehicle_person_animal_"),
    )
}


def _stages(rpn: int, box: int, mask: int, joint: int) -> dict[str, Any]:
    """Returns the epochs of the stages, the first three with the optimizer of the preset's joint stage."""
    recipe = {"optimizer": "adamw", "weight_decay": 0.01, "schedule": "cosine", "warmup_steps": 100, "clip_norm": 5.0}
    frozen = {f"train.{name}.{key}": value for name in ("rpn", "box", "mask") for key, value in recipe.items()}
    rates = {"train.rpn.learning_rate": 1e-4, "train.box.learning_rate": 3e-4, "train.mask.learning_rate": 3e-4}
    epochs = {"rpn": rpn, "box": box, "mask": mask, "joint": joint}
    return {**{f"train.{name}.epochs": number for name, number in epochs.items()}, **frozen, **rates}


RECIPES: dict[str, dict[str, Any]] = {
    "joint": {},
    "frozen": _stages(8, 8, 8, 0),
    "frozen, no cache": {**_stages(8, 8, 8, 0), "train.cache_features": "off"},
    "frozen + joint": _stages(3, 3, 3, 8),
    "sgd": {
        "train.joint.optimizer": "sgd",
        "train.joint.learning_rate": 0.005,
        "train.joint.weight_decay": 1e-4,
    },
    "half the epochs": {"train.joint.epochs": 6},
    "twice the epochs": {"train.joint.epochs": 24},
    "freeze 0": {"model.backbone.freeze_stages": 0},
    "freeze 3": {"model.backbone.freeze_stages": 3},
    "no flip": {"data.flip": 0.0},
    "no jitter": {"data.scale_jitter": [1.0, 1.0]},
    "crop": {"data.scale_jitter": [0.5, 2.0], "data.crop": True},
    "copy-paste": {"data.copy_paste": 0.5},
    "colour": {"data.colour_jitter": 0.4},
    "320 px": {"model.min_size": 320, "model.max_size": 448},
    "640 px": {"model.min_size": 640, "model.max_size": 896},
}


def preset_of(recipe: str) -> str:
    """Returns the preset that a recipe starts from."""
    return "photographs"


def settings_of(data: DataSet, recipe: str) -> dict[str, Any]:
    """Returns the settings of a recipe on a data set, by dotted key."""
    return {**data.settings, **RECIPES[recipe]}
