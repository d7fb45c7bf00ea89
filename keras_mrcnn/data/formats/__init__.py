"""Reads annotations in the formats of many programs as the content of a COCO file, and writes them."""

from keras_mrcnn.data.formats.collector import Annotations, CrowdQuestion
from keras_mrcnn.data.formats.detection import detect_format
from keras_mrcnn.data.formats.labelme import save_embedded_pictures
from keras_mrcnn.data.formats.names import FORMATS
from keras_mrcnn.data.formats.reading import read_annotations
from keras_mrcnn.data.formats.splits import find_splits

__all__ = [
    "FORMATS",
    "Annotations",
    "CrowdQuestion",
    "detect_format",
    "find_splits",
    "read_annotations",
    "save_embedded_pictures",
]
