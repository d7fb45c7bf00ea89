"""Mask R-CNN for Keras: trained in three frozen stages, scored as COCO does, exported for serving.

The public names below are imported when they are first used, so that `import keras_mrcnn` alone stays quick and
needs no TensorFlow.

Example:
    >>> import keras_mrcnn
    >>> config = keras_mrcnn.load_config("scenes-small", ("train.rpn.epochs=1",))
    >>> model = keras_mrcnn.StagedTrainer(config, "runs/first").fit()  # doctest: +SKIP
    >>> detections = model.predict(images)  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_MODULES = {
    "Config": "config",
    "load_config": "config",
    "MaskRCNN": "mask_rcnn.model",
    "RPNStage": "training.stages",
    "BoxStage": "training.stages",
    "MaskStage": "training.stages",
    "JointStage": "training.joint_stage",
    "StagedTrainer": "training.trainer",
    "CocoDataset": "data.coco",
    "PreparedDataset": "data.prepared",
    "prepare_dataset": "data.prepare",
    "training_dataset": "data.pipeline",
    "validation_dataset": "data.pipeline",
    "batches_from": "data.user_datasets",
    "Detections": "base.records",
    "Detector": "mask_rcnn.detector",
    "evaluate_model": "evaluation.evaluator",
    "export_saved_model": "export.saved_model",
    "export_onnx": "export.onnx",
}
__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
