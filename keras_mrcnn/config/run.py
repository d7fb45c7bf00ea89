"""Settings of a run: its data, its stages, and the whole of them."""

from __future__ import annotations

from typing import Any, Literal, Optional, Union

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from keras_mrcnn.config.model import ModelConfig, Settings


class DataConfig(Settings):
    """Data of a run: where the images are and how they become batches."""

    train_annotations: Optional[str] = Field(None, description="COCO file, or a folder of prepared data")
    train_images: Optional[str] = Field(None, description="folder of the images of a COCO file")
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
    prepared_folder: Optional[str] = Field(
        None, description="where data are prepared for training; by default 'prepared' beside the run folder"
    )
    skip_bad: bool = Field(False, description="drop and count what the data check finds, instead of stopping")

    @model_validator(mode="after")
    def _jitter_in_order(self) -> DataConfig:
        if self.scale_jitter[0] > self.scale_jitter[1]:
            raise ValueError(f"scale_jitter must be (low, high), got {self.scale_jitter}")
        return self


class StageConfig(Settings):
    """Optimisation of one stage."""

    epochs: Union[Literal["auto"], int] = Field("auto", description="auto follows from the number of images")
    steps_per_epoch: Optional[PositiveInt] = Field(None, description="by default one pass over the images")
    optimizer: Literal["sgd", "adamw", "novograd", "lamb", "lookahead", "swa", "moving_average"] = Field(
        "sgd", description="all but sgd and adamw come from tensorflow-addons, on its stack only"
    )
    inner_optimizer: Literal["sgd", "adamw"] = Field("sgd", description="what lookahead, swa and moving_average wrap")
    optimizer_settings: dict[str, Union[bool, int, float]] = Field(
        {}, description="further arguments of an optimizer of tensorflow-addons, such as sync_period"
    )
    learning_rate: PositiveFloat = Field(0.02, description="for 16 images a step; adapted to data.batch_size")
    momentum: float = Field(0.9, ge=0.0, lt=1.0, description="of sgd")
    weight_decay: float = Field(1e-4, ge=0.0)
    clip_norm: Optional[PositiveFloat] = Field(None, description="bound on the norm of all gradients together")
    schedule: Literal["step", "cosine"] = "step"
    warmup_steps: Union[Literal["auto"], int] = Field("auto", description="auto is a tenth of the stage, at most 500")
    milestones: tuple[float, ...] = Field((0.67, 0.92), description="shares of the stage at which 'step' divides by 10")
    average: Optional[float] = Field(
        None, gt=0.0, lt=1.0, description="momentum of a moving average of the weights, with which the stage ends"
    )
    patience: Optional[PositiveInt] = Field(
        None, description="the stage ends when so many epochs have passed since its best one; by default it never does"
    )
    progress: Literal["keras", "tqdm"] = Field("keras", description="progress bar; tqdm is that of tensorflow-addons")

    @field_validator("epochs", "warmup_steps", mode="plain")
    @classmethod
    def _auto_or_whole_number(cls, value: Any) -> Any:
        # A union would say twice, with names of its own, what is wrong.
        if value != "auto" and (type(value) is not int or value < 0):
            raise ValueError("must be auto or a whole number from 0 on")
        return value

    @model_validator(mode="after")
    def _milestones_are_shares(self) -> StageConfig:
        if any(not 0.0 < m < 1.0 for m in self.milestones) or list(self.milestones) != sorted(self.milestones):
            raise ValueError(f"milestones must be rising shares between 0 and 1, got {self.milestones}")
        return self

    @model_validator(mode="after")
    def _settings_go_with_the_optimizer(self) -> StageConfig:
        if self.optimizer_settings and self.optimizer in ("sgd", "adamw"):
            raise ValueError(f"optimizer_settings are for optimizers of tensorflow-addons, not for {self.optimizer}")
        if self.average is not None and self.optimizer in ("swa", "moving_average"):
            raise ValueError(f"optimizer {self.optimizer} averages the weights already; leave average out")
        return self


class JointStageConfig(StageConfig):
    """Optimisation of the optional fourth stage, which fine-tunes everything together."""

    epochs: Union[Literal["auto"], int] = Field(0, description="0 leaves the stage out")


class TrainConfig(Settings):
    """The three stages, the optional fourth, and the settings that they share."""

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
    cache_epochs: PositiveInt = Field(
        2, description="epochs whose augmented images are cached; later epochs show them again in turn"
    )
    cache_folder: Optional[str] = Field(
        None, description="by default 'cache' in the run folder, which is removed at the end; one that is named is kept"
    )
    weights: Optional[str] = Field(
        None, description="of a whole model, of any classes, to start from; then model.backbone.weights do not count"
    )
    minutes: Optional[PositiveFloat] = Field(
        None, description="time for the whole run; plans the stages, whose steps then only say how to divide it"
    )
    best_by: Literal["val_loss", "score", "last"] = Field(
        "val_loss", description="which epoch a stage ends with: of the lowest validation loss, the best score, or last"
    )
    score_every: PositiveInt = Field(1, description="epochs from one score to the next, with best_by score")
    validation_images: int = Field(
        100, ge=0, description="images, at most, on which losses and scores are measured after an epoch"
    )
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = Field(
        "float32", description="of the networks; auto is bfloat16 where the processor multiplies in it"
    )

    @field_validator("cache_features", mode="before")
    @classmethod
    def _yaml_switch(cls, value: Any) -> Any:
        """Turns true and false, as YAML reads a bare on or off, back into words."""
        return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value


class Config(Settings):
    """Everything that a run depends on."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
