"""Statistics of a data set for a model: sizes of the objects in its input, and how well its anchors fit them.

Shapes: G objects of all images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_mrcnn.config import ModelConfig
from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.data.statistics import DataStatistics, dataset_statistics
from keras_mrcnn.report.anchor_fit import best_anchor_ious, resized_sizes, scale_boxes


@dataclass(frozen=True, eq=False)
class ModelStatistics(DataStatistics):
    """Statistics of the images and objects of a data set, as `DataStatistics`, and of what a model makes of them.

    Args:
        sides: float64 [G], square root of each box's area in pixels of the model's input.
        anchor_ious: float64 [G], best IoU of any anchor with each object.
    """

    sides: np.ndarray
    anchor_ious: np.ndarray


def data_statistics(dataset: CocoDataset, config: ModelConfig) -> ModelStatistics:
    """Computes the statistics of a data set from its annotations.

    Args:
        dataset: the data set. Objects of its chosen classes count, crowds do not.
        config: settings of the model, which determine the sizes in its input and its anchors.

    Returns:
        `ModelStatistics`. Objects whose box has no area inside the image are left out.
    """
    found = dataset_statistics(dataset)
    sizes, boxes = found.image_sizes[found.images], found.boxes
    in_input = scale_boxes(boxes, sizes, resized_sizes(sizes, config)) if len(boxes) else boxes
    return ModelStatistics(
        **vars(found),
        sides=np.sqrt((in_input[:, 2:] - in_input[:, :2]).prod(axis=1)),
        anchor_ious=best_anchor_ious(boxes, sizes, config),
    )
