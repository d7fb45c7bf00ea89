"""Statistics of a data set: image sizes, objects, and how well the anchors fit. Only annotations are read.

Shapes: N images, G objects of all images, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_mrcnn.config import ModelConfig
from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.report.anchor_fit import best_anchor_ious, resized_sizes, scale_boxes

SIZE_NAMES = ("small", "medium", "large")
SIZE_LIMITS = (32**2, 96**2)  # COCO's limits, in square pixels


@dataclass(frozen=True, eq=False)
class DataStatistics:
    """Statistics of the images and objects of a data set.

    Args:
        class_names: K names.
        image_sizes: int [N, 2], height and width in pixels.
        images: int [G], position of each object's image.
        labels: int [G], 1..K.
        areas: float64 [G], area of each mask in square pixels of the original image, as in COCO's scores.
        sides: float64 [G], square root of each box's area in pixels of the model's input.
        anchor_ious: float64 [G], best IoU of any anchor with each object.
        num_crowds: number of crowd regions, which do not count as objects.
    """

    class_names: tuple[str, ...]
    image_sizes: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    areas: np.ndarray
    sides: np.ndarray
    anchor_ious: np.ndarray
    num_crowds: int

    @property
    def objects_per_image(self) -> np.ndarray:
        """Returns the number of objects in each image, int [N]."""
        return np.bincount(self.images, minlength=len(self.image_sizes))

    @property
    def objects_per_class(self) -> np.ndarray:
        """Returns the number of objects of each class, int [K]."""
        return np.bincount(self.labels, minlength=len(self.class_names) + 1)[1:]

    @property
    def images_per_class(self) -> np.ndarray:
        """Returns the number of images with objects of each class, int [K]."""
        pairs = np.unique(np.stack([self.images, self.labels]), axis=1)
        return np.bincount(pairs[1], minlength=len(self.class_names) + 1)[1:]

    @property
    def size_groups(self) -> np.ndarray:
        """Returns the position of each object's size in `SIZE_NAMES`, int [G]."""
        return np.digitize(self.areas, SIZE_LIMITS)


def data_statistics(dataset: CocoDataset, config: ModelConfig) -> DataStatistics:
    """Computes the statistics of a data set from its annotations.

    Args:
        dataset: the data set. Objects of its chosen classes count, crowds do not.
        config: settings of the model, which determine the sizes in its input and its anchors.

    Returns:
        `DataStatistics`. Objects whose box has no area inside the image are left out.
    """
    numbers = {category_id: label for label, category_id in enumerate(dataset.category_ids, start=1)}
    rows = [
        (image, numbers[item["category_id"]], item["area"], *item["bbox"])
        for image, image_id in enumerate(dataset.image_ids)
        for item in dataset.annotations(image_id)
    ]
    table = np.array(rows, np.float64).reshape(-1, 7)
    images = table[:, 0].astype(int)
    sizes = dataset.image_sizes[images]
    boxes = _clipped_boxes(table[:, 3:], sizes)
    real = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    table, images, sizes, boxes = table[real], images[real], sizes[real], boxes[real]
    in_input = scale_boxes(boxes, sizes, resized_sizes(sizes, config)) if len(boxes) else boxes
    return DataStatistics(
        class_names=dataset.class_names,
        image_sizes=dataset.image_sizes,
        images=images,
        labels=table[:, 1].astype(int),
        areas=table[:, 2],
        sides=np.sqrt((in_input[:, 2:] - in_input[:, :2]).prod(axis=1)),
        anchor_ious=best_anchor_ious(boxes, sizes, config),
        num_crowds=_count_crowds(dataset),
    )


def _clipped_boxes(boxes_xywh: np.ndarray, image_sizes: np.ndarray) -> np.ndarray:
    """Converts COCO's boxes [x, y, width, height] to float64 [G, 4], xyxy, clipped to their images' sizes [G, 2]."""
    corners = np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]], axis=1)
    return corners.clip(0, image_sizes[:, [1, 0, 1, 0]])


def _count_crowds(dataset: CocoDataset) -> int:
    """Returns the number of crowd regions of the chosen classes."""
    chosen = set(dataset.category_ids)
    return sum(item["iscrowd"] and item["category_id"] in chosen for item in dataset.coco.anns.values())
