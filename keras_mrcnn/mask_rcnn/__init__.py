"""The model: `MaskRCNN` with its preprocessing and postprocessing, and `Detector`, the graph of them all."""

import keras_mrcnn.compat  # noqa: F401 - before any module here imports Keras
