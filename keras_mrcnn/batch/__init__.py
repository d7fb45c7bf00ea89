"""Finds objects in any number of pictures: reads them one after the other and writes the detections in parts.

`predict_parts` is the whole of it, and `keras-mrcnn predict --format parquet` calls it. Nothing here grows with the
number of pictures. TensorFlow is imported only where a model needs it.

Example:
    >>> from keras_mrcnn.batch import PartSettings, open_input, predict_parts
    >>> pictures = open_input(["photos/"])  # doctest: +SKIP
    >>> predict_parts("runs/mine", pictures, "found", PartSettings(format="parquet"))  # doctest: +SKIP
"""

from keras_mrcnn.batch.inputs import Entry, Input, open_input
from keras_mrcnn.batch.parts import PartSettings, Shard
from keras_mrcnn.batch.run import predict_parts
from keras_mrcnn.batch.runtimes import RUNTIMES, Runtime, open_runtime

__all__ = [
    "RUNTIMES",
    "Entry",
    "Input",
    "PartSettings",
    "Runtime",
    "Shard",
    "open_input",
    "open_runtime",
    "predict_parts",
]
