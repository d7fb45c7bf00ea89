"""Weights in and out: our own files, torchvision's, ImageNet's."""

from keras_mrcnn.weights.model_files import convert_weights, load_backbone, load_weights, save_weights
from keras_mrcnn.weights.native import WeightsError

__all__ = ["WeightsError", "convert_weights", "load_backbone", "load_weights", "save_weights"]
