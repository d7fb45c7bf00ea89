"""The data sets and recipes of photographs.py: settings on top of the preset `photographs`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

PRESET = "photographs"
STAGES = ("rpn", "box", "mask", "joint")


@dataclass(frozen=True)
class DataSet:
    """A set of photographs: the folders that it joins, and the settings that its objects need.

    Attributes:
        name: in tables.
        folders: each has annotations/ and images/ with train and val.
        epochs: of the recipe `joint`; the other recipes have shares of them.
        prefix: of the names of the annotation files.
        settings: by dotted key.
    """

    name: str
    folders: tuple[str, ...]
    epochs: int
    prefix: str = ""
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """A way to train.

    Attributes:
        shares: epochs of RPN, box, mask and joint stage, as multiples of those of the data set.
        settings: by dotted key.
    """

    shares: tuple[float, float, float, float] = (0, 0, 0, 1)
    settings: dict[str, Any] = field(default_factory=dict)


# Up to 313 objects of 7 to 80 pixels in a picture.
MANY_SMALL = {
    "model.rpn.anchor_sizes": [[8], [16], [32], [64], [128]],
    "model.roi_canonical_side": 64,
    "model.rpn.post_nms_test": 1000,
    "model.box_head.max_detections": 400,
}
VEHICLE_PERSON_ANIMAL = "vehicle_person_animal_"
DATA_SETS = {
    data.name: data
    for data in (
        DataSet("penn-fudan", ("penn-fudan",), 8),
        DataSet("balloon", ("balloon",), 12),
        DataSet("nuclei", ("nuclei",), 4, settings=MANY_SMALL),
        DataSet("vehicle-person-animal", ("coco-mini", "coco-slice"), 5, VEHICLE_PERSON_ANIMAL),
        DataSet("coco-slice", ("coco-slice",), 5, VEHICLE_PERSON_ANIMAL),
    )
}

# A step of the joint stage takes about as long as one of each frozen stage together, so these take about equal time.
FROZEN, FROZEN_AND_JOINT = (1, 1, 1, 0), (0.5, 0.5, 0.5, 0.5)
# The optimizer of the preset's joint stage for the others; heads on frozen features bear a higher rate.
ADAMW = {"optimizer": "adamw", "weight_decay": 0.01, "schedule": "cosine", "warmup_steps": 100, "clip_norm": 5.0}
RATES = {"rpn": 2.83e-4, "box": 8.49e-4, "mask": 8.49e-4}  # of 16 images; a step has 2
STAGED = {
    f"train.{stage}.{key}": value
    for stage, rate in RATES.items()
    for key, value in {**ADAMW, "learning_rate": rate}.items()
}
SGD = {"train.joint.optimizer": "sgd", "train.joint.learning_rate": 0.04, "train.joint.weight_decay": 1e-4}

RECIPES = {
    "joint": Recipe(),
    "frozen": Recipe(FROZEN, STAGED),
    "frozen, no cache": Recipe(FROZEN, {**STAGED, "train.cache_features": "off"}),
    "frozen and joint": Recipe(FROZEN_AND_JOINT, STAGED),
    "joint, sgd": Recipe(settings=SGD),
    "joint, half as long": Recipe((0, 0, 0, 0.5)),
    "joint, twice as long": Recipe((0, 0, 0, 2)),
    "joint, all trained": Recipe(settings={"model.backbone.freeze_stages": 0}),
    "joint, half the backbone frozen": Recipe(settings={"model.backbone.freeze_stages": 3}),
    "joint, no flip": Recipe(settings={"data.flip": 0.0}),
    "joint, no jitter": Recipe(settings={"data.scale_jitter": [1.0, 1.0]}),
    "joint, crop": Recipe(settings={"data.scale_jitter": [0.5, 2.0], "data.crop": True}),
    "joint, copy-paste": Recipe(settings={"data.copy_paste": 0.5}),
    "joint, colours": Recipe(settings={"data.colour_jitter": 0.4}),
    "joint, 320 pixels": Recipe(settings={"model.min_size": 320, "model.max_size": 448}),
    "joint, 640 pixels": Recipe(settings={"model.min_size": 640, "model.max_size": 896}),
}


def settings_of(data: DataSet, recipe: Recipe) -> dict[str, Any]:
    """Returns the settings of a recipe on a data set, by dotted key."""
    epochs = {
        f"train.{stage}.epochs": max(1, round(share * data.epochs)) if share else 0
        for stage, share in zip(STAGES, recipe.shares)
    }
    return {**data.settings, **epochs, **recipe.settings}
