"""The hash that ties cached features to the frozen weights and the data that they were made of."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.weights.names import named_weights
from keras_mrcnn.weights.native import value_of

FORMAT = 3  # to be raised whenever the files or the way to compute them change
FROZEN_PARTS = ("backbone.", "rpn.")
# Where the frozen weights came from does not matter, for they count themselves; the ids are those of the data.
LEFT_OUT = {"class_names": True, "category_ids": True, "box_head": True, "mask_head": True, "backbone": {"weights"}}


def cache_key(model: MaskRCNN, data: CocoDataset, settings: dict[str, Any]) -> str:
    """Returns a hash of all that maps and proposals depend on, 24 hexadecimal digits.

    Args:
        model: `MaskRCNN`; its backbone, neck and RPN count, and of its config all but the heads and the class names.
        data: `CocoDataset`; annotations and, of the image files, names, sizes and times of change count.
        settings: dict for JSON: seed, precision, dtype, and how images are augmented.
    """
    digest = hashlib.sha256()
    config = model.config.model_dump(mode="json", exclude=LEFT_OUT)
    # In the order of the ids, which is that of the labels.
    _add(digest, {"format": FORMAT, "config": config, "category_ids": data.category_ids, **settings})
    for name, entry in named_weights(model).items():
        if name.startswith(FROZEN_PARTS):
            digest.update(name.encode())
            digest.update(value_of(entry.variable).tobytes())
    for image_id in data.image_ids:
        path = data.image_path(image_id)
        _add(digest, [image_id, str(path.absolute()), *_size_and_time(path)])
        _add(digest, data.annotations(image_id))
    return digest.hexdigest()[:24]


def _size_and_time(path):
    try:
        status = path.stat()
    except OSError:  # whoever reads the image next says so
        return ()
    return status.st_size, status.st_mtime_ns


def _add(digest, value):
    digest.update(json.dumps(value, sort_keys=True).encode())
