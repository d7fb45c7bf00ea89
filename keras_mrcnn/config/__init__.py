"""Settings: frozen, validated records, one class per part, read from and written to YAML.

The model, the trainer and the command line read these; everything below takes keyword arguments.
"""

from keras_mrcnn.config.files import PRESETS, ConfigError, load_config, make_config, save_config
from keras_mrcnn.config.model import (
    NO_CLASS,
    ApplicationsConfig,
    BackboneConfig,
    BoxHeadConfig,
    InstanceConfig,
    MaskHeadConfig,
    ModelConfig,
    NeckConfig,
    ResNetConfig,
    RPNConfig,
)
from keras_mrcnn.config.run import Config, DataConfig, JointStageConfig, StageConfig, TrainConfig

__all__ = [
    "NO_CLASS",
    "PRESETS",
    "ApplicationsConfig",
    "BackboneConfig",
    "BoxHeadConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "InstanceConfig",
    "JointStageConfig",
    "MaskHeadConfig",
    "ModelConfig",
    "NeckConfig",
    "RPNConfig",
    "ResNetConfig",
    "StageConfig",
    "TrainConfig",
    "load_config",
    "make_config",
    "save_config",
]
