"""Reads and writes weights: our own files, torchvision's and ImageNet's."""

import keras_mrcnn.compat  # noqa: F401 - before any module here imports Keras
from keras_mrcnn.weights.model_files import fill_model, load_backbone, read_model_weights, read_weights, write_weights
from keras_mrcnn.weights.native import WeightsError

__all__ = ["WeightsError", "fill_model", "load_backbone", "read_model_weights", "read_weights", "write_weights"]
