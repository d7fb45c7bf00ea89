"""Settings: frozen, validated records, one class per part, read from and written to YAML.

Only `models.mask_rcnn`, the trainer and the command line read these; everything below takes keyword arguments.
"""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Optional, Union

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

PRESETS = ("scenes-small", "coco-r50-fpn", "coco-r101-fpn", "vehicle-person-animal")


# What torchvision calls the numbers of COCO that belong to no class; the one name that may occur several times.
NO_CLASS = "N/A"

Norm = Literal["frozen_bn", "bn", "sync_bn", "group_norm"]


class Settings(BaseModel):
    """Base of all settings: immutable; unknown keys and numbers that are not finite are refused by name."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class BackboneConfig(Settings):
    """ResNet v1.5 (He et al., Deep Residual Learning, 2016)."""

    depth: Literal[18, 34, 50, 101] = 50
    width: PositiveFloat = Field(1.0, description="multiplies every channel count")
    stride_in: Literal["3x3", "1x1"] = Field("3x3", description="which convolution of a bottleneck carries the stride")
    norm: Norm = "frozen_bn"
    norm_epsilon: NonNegativeFloat = Field(1e-5, description="of every norm of the model")
    weights: Optional[str] = Field(
        None, description="'imagenet', a keras.applications .h5 file, a torchvision ImageNet .pth file, or none"
    )
    freeze_stages: int = Field(2, ge=0, le=5, description="first stages kept frozen: 1 is the stem, 5 all of it")


class NeckConfig(Settings):
    """What turns backbone maps into the maps that RPN and heads look at."""

    kind: Literal["fpn", "c4"] = "fpn"
    channels: PositiveInt = Field(256, description="of every FPN map; the C4 map keeps the backbone's")
    norm: Optional[Norm] = Field(None, description="of the FPN's convolutions; by default biases")


class RPNConfig(Settings):
    """Region proposal network (Ren et al., Faster R-CNN, 2015)."""

    anchor_sizes: Optional[tuple[tuple[PositiveFloat, ...], ...]] = Field(
        None, description="pixels, one tuple per level; by default those of torchvision (fpn) or 128, 256, 512 (c4)"
    )
    aspect_ratios: tuple[PositiveFloat, ...] = Field((0.5, 1.0, 2.0), min_length=1, description="height / width")
    convolutions: PositiveInt = Field(1, description="3x3 convolutions before objectness and deltas")
    positive_iou: float = Field(0.7, ge=0.0, le=1.0)
    negative_iou: float = Field(0.3, ge=0.0, le=1.0)
    samples: PositiveInt = Field(256, description="anchors in the loss, per image")
    positive_fraction: float = Field(0.5, gt=0.0, le=1.0)
    pre_nms_train: PositiveInt = Field(2000, description="boxes kept per level before NMS, in training")
    post_nms_train: PositiveInt = 2000
    pre_nms_test: PositiveInt = 1000
    post_nms_test: PositiveInt = 1000
    nms_iou: float = Field(0.7, ge=0.0, le=1.0)
    box_loss: Literal["smooth_l1", "giou"] = "smooth_l1"

    @model_validator(mode="after")
    def _thresholds_in_order(self):
        if self.negative_iou > self.positive_iou:
            raise ValueError(f"negative_iou {self.negative_iou} must not exceed positive_iou {self.positive_iou}")
        return self


class BoxHeadConfig(Settings):
    """Fully connected layers, softmax over the classes, box regression for each class."""

    channels: PositiveInt = 1024
    dense_layers: PositiveInt = 2
    convolutions: int = Field(0, ge=0, description="3x3 convolutions before the fully connected layers")
    conv_channels: PositiveInt = 256
    norm: Optional[Norm] = Field(None, description="of these convolutions; by default biases")
    positive_iou: float = Field(0.5, ge=0.0, le=1.0)
    samples: PositiveInt = Field(512, description="RoIs in the loss, per image")
    positive_fraction: float = Field(0.25, gt=0.0, le=1.0)
    box_loss: Literal["smooth_l1", "giou"] = "smooth_l1"
    score_threshold: float = Field(0.05, ge=0.0, le=1.0)
    nms_iou: float = Field(0.5, ge=0.0, le=1.0)
    max_detections: PositiveInt = 100


class MaskHeadConfig(Settings):
    """Four convolutions, one transposed convolution, a sigmoid mask for each class (He et al., Mask R-CNN, 2017)."""

    channels: PositiveInt = 256
    convolutions: int = Field(4, ge=0)
    norm: Optional[Norm] = Field(None, description="of these convolutions; by default biases")
    samples: PositiveInt = Field(128, description="positive RoIs in the loss, per image")


class ModelConfig(Settings):
    """The network. `class_names` come from the data set, in the order of its category ids; no background."""

    class_names: tuple[str, ...] = ()
    category_ids: tuple[int, ...] = ()
    min_size: PositiveInt = Field(800, description="pixels, short side of the network's input")
    max_size: PositiveInt = Field(1333, description="pixels, upper bound of the long side")
    roi_canonical_side: PositiveFloat = Field(224.0, description="pixels; RoIs of this side are pooled from P4")
    backbone: BackboneConfig = BackboneConfig()
    neck: NeckConfig = NeckConfig()
    rpn: RPNConfig = RPNConfig()
    box_head: BoxHeadConfig = BoxHeadConfig()
    mask_head: MaskHeadConfig = MaskHeadConfig()

    @model_validator(mode="after")
    def _consistent(self):
        if self.max_size < self.min_size:
            raise ValueError(f"max_size {self.max_size} must be at least min_size {self.min_size}")
        named = [name for name in self.class_names if name != NO_CLASS]
        if len(set(named)) != len(named):
            raise ValueError(f"class_names must differ from each other, got {list(self.class_names)}")
        if self.category_ids and len(self.category_ids) != len(self.class_names):
            raise ValueError(f"{len(self.category_ids)} category_ids do not fit {len(self.class_names)} class_names")
        levels = 5 if self.neck.kind == "fpn" else 1
        if self.rpn.anchor_sizes is not None and len(self.rpn.anchor_sizes) != levels:
            raise ValueError(
                f"rpn.anchor_sizes has {len(self.rpn.anchor_sizes)} levels, neck {self.neck.kind} has {levels}"
            )
        # One RPN head serves all levels, so that all have the same number of anchors a cell.
        counts = {len(sizes) for sizes in self.anchor_sizes}
        if len(counts) != 1 or 0 in counts:
            raise ValueError("rpn.anchor_sizes must have as many sizes on every level, at least one")
        return self

    @model_validator(mode="before")
    @classmethod
    def _number_classes(cls, values):
        """Classes that no data set has named ids for are called 1..K in results."""
        if isinstance(values, dict) and values.get("class_names") and not values.get("category_ids"):
            return {**values, "category_ids": tuple(range(1, len(values["class_names"]) + 1))}
        return values

    @property
    def anchor_sizes(self) -> tuple[tuple[float, ...], ...]:
        """Anchor sizes in pixels, one tuple per level."""
        if self.rpn.anchor_sizes is not None:
            return self.rpn.anchor_sizes
        return ((32,), (64,), (128,), (256,), (512,)) if self.neck.kind == "fpn" else ((128, 256, 512),)


class DataConfig(Settings):
    """Where the images are and how they become batches."""

    train_annotations: Optional[str] = None
    train_images: Optional[str] = None
    val_annotations: Optional[str] = None
    val_images: Optional[str] = None
    class_names: Optional[tuple[str, ...]] = Field(None, description="a selection of the data set's classes")
    batch_size: PositiveInt = Field(2, description="images in a step, over all devices")
    eval_batch_size: PositiveInt = 2
    min_sizes: Optional[tuple[PositiveInt, ...]] = Field(None, description="short sides to choose from in training")
    flip: float = Field(0.5, ge=0.0, le=1.0, description="probability of a horizontal flip")
    scale_jitter: tuple[PositiveFloat, PositiveFloat] = Field((1.0, 1.0), description="range of factors on the size")
    crop: bool = Field(False, description="cut what the jitter made larger back to the size without jitter")
    rotation: float = Field(0.0, ge=0.0, le=180.0, description="degrees; angles are drawn from -rotation..rotation")
    colour_jitter: float = Field(0.0, ge=0.0, le=1.0, description="strength, of brightness, contrast and saturation")
    copy_paste: float = Field(0.0, ge=0.0, le=1.0, description="probability of pasting another image's objects")
    mask_size: PositiveInt = Field(56, description="side of the stored ground-truth masks")
    skip_bad: bool = Field(False, description="drop and count what the data check finds, instead of stopping")

    @model_validator(mode="after")
    def _jitter_in_order(self):
        if self.scale_jitter[0] > self.scale_jitter[1]:
            raise ValueError(f"scale_jitter must be (low, high), got {self.scale_jitter}")
        return self


class StageConfig(Settings):
    """How one stage is optimised."""

    epochs: int = Field(12, ge=0)
    steps_per_epoch: Optional[PositiveInt] = Field(None, description="by default one pass over the images")
    optimizer: Literal["sgd", "adamw", "novograd", "lamb", "lookahead", "swa", "moving_average"] = Field(
        "sgd", description="all but sgd and adamw come from tensorflow-addons, on its stack only"
    )
    inner_optimizer: Literal["sgd", "adamw"] = Field("sgd", description="what lookahead, swa and moving_average wrap")
    optimizer_settings: dict[str, Union[bool, int, float]] = Field(
        {}, description="further arguments of an optimizer of tensorflow-addons, such as sync_period"
    )
    learning_rate: PositiveFloat = Field(0.0025, description="for 2 images a step; grow it with data.batch_size")
    momentum: float = Field(0.9, ge=0.0, lt=1.0, description="of sgd")
    weight_decay: float = Field(1e-4, ge=0.0)
    clip_norm: Optional[PositiveFloat] = Field(None, description="bound on the norm of all gradients together")
    schedule: Literal["step", "cosine"] = "step"
    warmup_steps: int = Field(500, ge=0)
    milestones: tuple[float, ...] = Field((0.67, 0.92), description="shares of the stage at which 'step' divides by 10")
    average: Optional[float] = Field(
        None, gt=0.0, lt=1.0, description="momentum of a moving average of the weights, with which the stage ends"
    )
    progress: Literal["keras", "tqdm"] = Field("keras", description="progress bar; tqdm is that of tensorflow-addons")
    time_limit: Optional[PositiveFloat] = Field(
        None, description="minutes; the stage ends with the epoch in which they have passed; by tensorflow-addons"
    )

    @model_validator(mode="after")
    def _milestones_are_shares(self):
        if any(not 0.0 < m < 1.0 for m in self.milestones) or list(self.milestones) != sorted(self.milestones):
            raise ValueError(f"milestones must be rising shares between 0 and 1, got {self.milestones}")
        return self

    @model_validator(mode="after")
    def _settings_go_with_the_optimizer(self):
        if self.optimizer_settings and self.optimizer in ("sgd", "adamw"):
            raise ValueError(f"optimizer_settings are for optimizers of tensorflow-addons, not for {self.optimizer}")
        if self.average is not None and self.optimizer in ("swa", "moving_average"):
            raise ValueError(f"optimizer {self.optimizer} averages the weights already; leave average out")
        return self


class JointStageConfig(StageConfig):
    """How the optional fourth stage is optimised, which fine-tunes everything together."""

    epochs: int = Field(0, ge=0, description="0 leaves the stage out")


class TrainConfig(Settings):
    """The three stages, and the optional fourth."""

    rpn: StageConfig = StageConfig()
    box: StageConfig = StageConfig()
    mask: StageConfig = StageConfig()
    joint: JointStageConfig = JointStageConfig()
    seed: int = Field(0, ge=0)
    deterministic: bool = Field(False, description="the same weights to the bit from run to run; costs speed")
    cache_features: Literal["auto", "on", "off"] = Field(
        "auto", description="keep maps and proposals of the frozen part on disk; auto where that saves work and fits"
    )
    cache_dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="of the cached maps; auto is what the networks compute in"
    )
    cache_views: PositiveInt = Field(2, description="augmented views of each image that are cached")
    cache_folder: Optional[str] = Field(
        None, description="by default 'cache' in the run folder, which is removed at the end; one that is named is kept"
    )
    weights: Optional[str] = Field(
        None, description="of a whole model, of any classes, to start from; then model.backbone.weights do not count"
    )
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = Field(
        "float32", description="of the networks; auto is bfloat16 where the processor multiplies in it"
    )

    @field_validator("cache_features", mode="before")
    @classmethod
    def _yaml_switch(cls, value):
        """YAML reads a bare on or off as true or false."""
        return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value


class Config(Settings):
    """Everything that a run depends on."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()


class ConfigError(ValueError):
    """A settings file or override that cannot be used; the message names the key."""


def load_config(source: Union[str, os.PathLike], overrides: tuple[str, ...] = ()) -> Config:
    """Reads a preset or a YAML file and applies `key=value` overrides.

    Args:
        source: name of a preset (see `PRESETS`) or path of a YAML file.
        overrides: strings such as `train.rpn.epochs=3`; values are YAML.

    Returns:
        The validated `Config`.

    Raises:
        ConfigError: for an unknown preset or file, an unknown key or an impossible value, each named.

    Example:
        >>> load_config("scenes-small", ("train.seed=7",)).train.seed
        7
    """
    tree = _read_yaml(source)
    for override in overrides:
        _apply_override(tree, override)
    return make_config(tree, str(source))


def make_config(tree: Any, source: str = "config") -> Config:
    """Validates a nested dict. Raises `ConfigError` naming `source` and every wrong key."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        problems = "; ".join(_describe(problem) for problem in error.errors())
        raise ConfigError(f"{source}: {problems}") from None


def save_config(config: Config, path: Union[str, os.PathLike]) -> None:
    """Writes the resolved settings as YAML that `load_config` reads back to an equal `Config`."""
    temporary = Path(f"{path}.tmp")
    temporary.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    os.replace(temporary, path)


def _read_yaml(source) -> dict:
    if str(source) in PRESETS:
        text = resources.files("keras_mrcnn").joinpath("presets", f"{source}.yaml").read_text(encoding="utf-8")
    elif Path(source).is_file():
        text = Path(source).read_text(encoding="utf-8")
    else:
        raise ConfigError(f"{source}: no such file and no preset of that name; presets are {', '.join(PRESETS)}")
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    if tree is not None and not isinstance(tree, dict):
        raise ConfigError(f"{source}: must hold keys and values, not a {type(tree).__name__}")
    return tree or {}


def _apply_override(tree: dict, override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {override}: write it as key=value, for example train.rpn.epochs=3")
    *parents, leaf = key.strip().split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"--set {override}: {parent} is a value, not a group of settings")
    try:
        tree[leaf] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"--set {override}: {value!r} is not a YAML value") from None


def _describe(problem: dict) -> str:
    key = ".".join(str(part) for part in problem["loc"]) or "settings"
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key}"
    return f"{key}: {problem['msg']} (got {problem['input']!r})"
