"""Settings of the network, one class per part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Optional, Union

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Tag,
    field_validator,
    model_validator,
)

# torchvision's name for the numbers of COCO that belong to no class; the one name that may occur several times.
NO_CLASS = "N/A"

Norm = Literal["frozen_bn", "bn", "sync_bn", "group_norm"]

FREEZE_STAGES = Field(2, ge=0, le=5, description="first stages kept frozen: 1 is the stem, 5 all of it")
BATCH_NORM = Field("frozen_bn", description="frozen_bn keeps batch norms as they are and runs the network as in use")
# Arguments of keras.applications that decide on the network's input and output, which the detector sets itself.
TAKEN_ARGUMENTS = {
    "include_top", "weights", "input_tensor", "input_shape", "pooling", "classes", "classifier_activation",
    "include_preprocessing", "name",
}  # fmt: skip


class Settings(BaseModel):
    """Base of all settings: immutable; errors name unknown keys and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ResNetConfig(Settings):
    """Our own ResNet v1.5 (He et al., Deep Residual Learning, 2016)."""

    depth: Literal[18, 34, 50, 101] = 50
    width: PositiveFloat = Field(1.0, description="multiplies every channel count")
    stride_in: Literal["3x3", "1x1"] = Field("3x3", description="which convolution of a bottleneck carries the stride")
    norm: Norm = "frozen_bn"
    norm_epsilon: NonNegativeFloat = Field(1e-5, description="of every norm of the model")
    weights: Optional[str] = Field(
        None,
        description="'imagenet', a name that `keras-mrcnn weights list` prints, a keras.applications .h5 file, a "
        "torchvision ImageNet .pth file, or none",
    )
    freeze_stages: int = FREEZE_STAGES

    @property
    def title(self) -> str:
        """Returns the network in words."""
        return f"ResNet-{self.depth}" + (f" of width {self.width:g}" if self.width != 1 else "")


class ApplicationsConfig(Settings):
    """A network of keras.applications with maps at strides 4, 8, 16 and 32."""

    name: str = Field(description="of the constructor, such as EfficientNetV2B0")
    arguments: dict[str, Union[bool, int, float, str]] = Field(
        {}, description="further arguments of the constructor, such as alpha of a MobileNet"
    )
    norm: Literal["frozen_bn", "bn"] = BATCH_NORM
    weights: Optional[str] = Field(
        None, description="'imagenet', a Keras .h5 file of the network without its top, weights of ours, or none"
    )
    freeze_stages: int = FREEZE_STAGES

    @model_validator(mode="before")
    @classmethod
    def _no_settings_of_the_resnet(cls, values: Any) -> Any:
        """Refuses the settings of a ResNet, among which a name lands when it overrides a preset."""
        keys = values if isinstance(values, dict) else ()  # validation also passes finished settings
        foreign = [key for key in ("depth", "width", "stride_in", "norm_epsilon") if key in keys]
        if foreign:
            raise ValueError(
                f"{', '.join(foreign)} belong to the ResNet that depth and width describe, not to a network of "
                f"keras.applications; replace the whole group, as in model.backbone={{name: {values.get('name')}}}"
            )
        return values

    @field_validator("arguments")
    @classmethod
    def _only_free_arguments(cls, value: dict[str, Any]) -> dict[str, Any]:
        taken = sorted(TAKEN_ARGUMENTS & value.keys())
        if taken:
            raise ValueError(f"{', '.join(taken)}: set by the detector itself; leave out of arguments")
        return value

    @property
    def title(self) -> str:
        """Returns the network in words."""
        arguments = ", ".join(f"{key}={value}" for key, value in self.arguments.items())
        return f"{self.name}{f'({arguments})' if arguments else ''} of keras.applications"


class InstanceConfig(Settings):
    """A functional Keras model of the user's own, passed as `MaskRCNN(config, backbone=...)`."""

    preprocessing: Literal["raw", "tf", "torch", "caffe"] = Field(
        description="input of the model: RGB of 0..255, RGB of -1..1, normalised RGB, or BGR less its mean"
    )
    norm: Literal["frozen_bn", "bn"] = BATCH_NORM
    freeze_stages: int = FREEZE_STAGES

    @property
    def title(self) -> str:
        """Returns the network in words."""
        return "a Keras model of the user's own"


def _kind_of_backbone(value: Any) -> str:
    """Returns the class of a backbone's settings: each but the ResNet's has a required key."""
    if isinstance(value, Settings):
        return type(value).__name__
    keys = value.keys() if isinstance(value, dict) else ()
    if "name" in keys:
        return "ApplicationsConfig"
    return "InstanceConfig" if "preprocessing" in keys else "ResNetConfig"


BACKBONES = (ResNetConfig, ApplicationsConfig, InstanceConfig)
BackboneConfig = Annotated[
    Union[
        Annotated[ResNetConfig, Tag("ResNetConfig")],
        Annotated[ApplicationsConfig, Tag("ApplicationsConfig")],
        Annotated[InstanceConfig, Tag("InstanceConfig")],
    ],
    Discriminator(_kind_of_backbone),
]


def location(problem: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the keys that lead to a problem, one of `ValidationError.errors()`."""
    kinds = {kind.__name__ for kind in BACKBONES}  # pydantic counts them as keys
    return tuple(str(part) for part in problem["loc"] if part not in kinds)


class NeckConfig(Settings):
    """Neck, which turns the maps of the backbone into those that the RPN and the heads read."""

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
    def _thresholds_in_order(self) -> RPNConfig:
        if self.negative_iou > self.positive_iou:
            raise ValueError(f"negative_iou {self.negative_iou} must not exceed positive_iou {self.positive_iou}")
        return self


class BoxHeadConfig(Settings):
    """Box head: fully connected layers, a softmax over the classes, and box regression for each class."""

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
    """Mask head: convolutions, a transposed one, and a sigmoid mask for each class (He et al., Mask R-CNN, 2017)."""

    channels: PositiveInt = 256
    convolutions: int = Field(4, ge=0)
    norm: Optional[Norm] = Field(None, description="of these convolutions; by default biases")
    samples: PositiveInt = Field(128, description="positive RoIs in the loss, per image")


class ModelConfig(Settings):
    """The network. `class_names` come from the data set, in the order of its category ids; no background."""

    class_names: tuple[str, ...] = ()
    category_ids: tuple[int, ...] = ()
    channels: Literal[1, 3, 4] = Field(3, description="of the pictures: 1 grey, 3 RGB, 4 RGB and one more")
    min_size: PositiveInt = Field(800, description="pixels, short side of the network's input")
    max_size: PositiveInt = Field(1333, description="pixels, upper bound of the long side")
    roi_canonical_side: PositiveFloat = Field(224.0, description="pixels; RoIs of this side are pooled from P4")
    backbone: BackboneConfig = ResNetConfig()
    neck: NeckConfig = NeckConfig()
    rpn: RPNConfig = RPNConfig()
    box_head: BoxHeadConfig = BoxHeadConfig()
    mask_head: MaskHeadConfig = MaskHeadConfig()

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
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
        # One RPN head serves all levels, so all must have the same number of anchors per cell.
        counts = {len(sizes) for sizes in self.anchor_sizes}
        if len(counts) != 1 or 0 in counts:
            raise ValueError("rpn.anchor_sizes must have as many sizes on every level, at least one")
        return self

    @model_validator(mode="before")
    @classmethod
    def _number_classes(cls, values: Any) -> Any:
        """Numbers the classes 1..K where no data set has given them ids."""
        if isinstance(values, dict) and values.get("class_names") and not values.get("category_ids"):
            return {**values, "category_ids": tuple(range(1, len(values["class_names"]) + 1))}
        return values

    @property
    def norm_epsilon(self) -> float:
        """Returns the epsilon of the norms in the neck, the heads and our own ResNet."""
        return getattr(self.backbone, "norm_epsilon", 1e-5)

    @property
    def anchor_sizes(self) -> tuple[tuple[float, ...], ...]:
        """Returns the anchor sizes in pixels, one tuple per level."""
        if self.rpn.anchor_sizes is not None:
            return self.rpn.anchor_sizes
        return ((32,), (64,), (128,), (256,), (512,)) if self.neck.kind == "fpn" else ((128, 256, 512),)
