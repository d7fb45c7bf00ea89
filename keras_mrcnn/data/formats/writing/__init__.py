"""Writes annotations for other programs: COCO, LabelMe and YOLO-seg.

What is written comes from the content of a COCO file, which every reader of `keras_mrcnn.data.formats` gives. Pictures
are linked, never copied. The files appear whole or not at all, and nothing that exists is replaced unasked.
"""

from keras_mrcnn.data.formats.writing.dataset import WRITTEN_FORMATS, WriteReport, write_annotations, write_dataset
from keras_mrcnn.data.formats.writing.parts import Part, folder_part

__all__ = ["WRITTEN_FORMATS", "Part", "WriteReport", "folder_part", "write_annotations", "write_dataset"]
