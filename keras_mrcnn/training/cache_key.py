"""Computes the hash that ties cached features to the frozen weights and the data that they come from."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from keras_mrcnn.data.prepared import PreparedDataset
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.weights.names import named_weights
from keras_mrcnn.weights.native import value_of

FORMAT = 4  # raise it whenever the files or the way to compute them change
FROZEN_PARTS = ("backbone.", "rpn.")
# The source of the frozen weights does not matter, because their values are hashed; the ids are those of the data.
LEFT_OUT = {"class_names": True, "category_ids": True, "box_head": True, "mask_head": True, "backbone": {"weights"}}


def cache_key(model: MaskRCNN, data: PreparedDataset, settings: dict[str, Any]) -> str:
    """Computes a hash of everything that maps and proposals depend on, 24 hexadecimal digits.

    Args:
        model: `MaskRCNN`; backbone, neck and RPN are hashed, and the config without the heads and the class names.
        data: `PreparedDataset`; its `key` stands for images and annotations.
        settings: precision, dtype and sampling settings, as a dict for JSON.
    """
    digest = hashlib.sha256()
    config = model.config.model_dump(mode="json", exclude=LEFT_OUT)
    # In the order of the ids, which is that of the labels.
    _add(digest, {"format": FORMAT, "config": config, "data": data.key, "category_ids": data.category_ids, **settings})
    for name, entry in named_weights(model).items():
        if name.startswith(FROZEN_PARTS):
            digest.update(name.encode())
            digest.update(value_of(entry.variable).tobytes())
    return digest.hexdigest()[:24]


def _add(digest, value):
    digest.update(json.dumps(value, sort_keys=True).encode())
