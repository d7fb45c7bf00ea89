"""`Detections` from the arrays that the detector and everything exported from it give.

NumPy alone is needed, so that clients of a served model run without TensorFlow.

Shapes: D rows of the outputs, found or padding; M mask side.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from keras_mrcnn.structures import Detections

OUTPUT_NAMES = ("boxes", "scores", "category_ids", "valid", "masks")


def to_detections(found: Mapping[str, np.ndarray], names: Mapping[int, str], image_size: tuple[int, int]) -> Detections:
    """Returns the detections of one image from the outputs of `Detector.detect`, or of what is exported.

    Args:
        found: arrays without the batch dimension: boxes float32 [D, 4], xyxy pixels of the original image, best
            first; scores float32 [D]; category_ids int32 [D]; valid int32 [], how many rows are detections;
            masks uint8 [D, M, M], probability * 255.
        names: class name of each category id.
        image_size: (h, w) of the original image.

    Raises:
        ValueError: a category id has no name.
    """
    count = int(found["valid"])
    category_ids = np.asarray(found["category_ids"])[:count]
    unknown = sorted(set(category_ids.tolist()) - set(names))
    if unknown:
        raise ValueError(f"category_ids holds {unknown[0]}, but the model's categories are {sorted(names)}.")
    return Detections(
        boxes=found["boxes"][:count],
        scores=found["scores"][:count],
        category_ids=category_ids,
        class_names=tuple(names[category_id] for category_id in category_ids.tolist()),
        masks=found["masks"][:count].astype(np.float32) / 255.0,
        image_size=image_size,
    )
