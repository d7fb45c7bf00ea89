"""Statistics of a data set: image sizes, classes and objects. Only annotations are read.

Shapes: N images, G objects of all images, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_mrcnn.data.coco import CocoDataset

SIZE_NAMES = ("small", "medium", "large")
SIZE_LIMITS = (32**2, 96**2)  # COCO's limits, in square pixels
SPLIT_COLUMNS = (
    "data", "images", "without objects", "objects", "crowds", "objects an image", "most in one", "widths, px",
    "heights, px",
)  # fmt: skip
QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)


@dataclass(frozen=True, eq=False)
class DataStatistics:
    """Statistics of the images and objects of a data set.

    Args:
        class_names: K names.
        image_sizes: int [N, 2], height and width in pixels.
        images: int [G], position of each object's image.
        labels: int [G], 1..K.
        areas: float64 [G], area of each mask in square pixels of the original image, as in COCO's scores.
        boxes: float64 [G, 4], xyxy pixels, clipped to the image.
        num_crowds: number of crowd regions, which do not count as objects.
    """

    class_names: tuple[str, ...]
    image_sizes: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    areas: np.ndarray
    boxes: np.ndarray
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

    @property
    def box_sides(self) -> np.ndarray:
        """Returns the square root of each box's area in pixels of the original image, float64 [G]."""
        return np.sqrt((self.boxes[:, 2:] - self.boxes[:, :2]).prod(axis=1))


def dataset_statistics(dataset: CocoDataset) -> DataStatistics:
    """Computes the statistics of a data set from its annotations.

    Args:
        dataset: the data set. Objects of its chosen classes count, crowds do not.

    Returns:
        `DataStatistics`. Objects whose box has no area inside the image are left out.

    Example:
        >>> content = {
        ...     "images": [{"id": 7, "file_name": "a.jpg", "height": 4, "width": 6}],
        ...     "annotations": [{"id": 1, "image_id": 7, "category_id": 5, "bbox": [1, 1, 4, 1], "area": 4}],
        ...     "categories": [{"id": 5, "name": "cat"}],
        ... }
        >>> statistics = dataset_statistics(CocoDataset(content, "images"))
        >>> statistics.objects_per_class.tolist(), statistics.box_sides.tolist()
        ([1], [2.0])
    """
    numbers = {category_id: label for label, category_id in enumerate(dataset.category_ids, start=1)}
    rows = [
        (image, numbers[item["category_id"]], item["area"], *item["bbox"])
        for image, image_id in enumerate(dataset.image_ids)
        for item in dataset.annotations(image_id)
    ]
    table = np.array(rows, np.float64).reshape(-1, 7)
    images = table[:, 0].astype(int)
    boxes = _clipped_boxes(table[:, 3:], dataset.image_sizes[images])
    real = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return DataStatistics(
        class_names=dataset.class_names,
        image_sizes=dataset.image_sizes,
        images=images[real],
        labels=table[real, 1].astype(int),
        areas=table[real, 2],
        boxes=boxes[real],
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


def split_row(title: str, of_split: DataStatistics) -> list:
    """Returns the values of a split in the order of `SPLIT_COLUMNS`, the first of which is `title`."""
    counts = of_split.objects_per_image
    heights, widths = of_split.image_sizes.T
    return [
        title,
        len(of_split.image_sizes),
        int((counts == 0).sum()),
        len(of_split.labels),
        of_split.num_crowds,
        float(counts.mean()) if len(counts) else None,
        int(counts.max(initial=0)),
        _range(widths),
        _range(heights),
    ]


def _range(values: np.ndarray) -> str:
    """Returns the smallest and largest value as text."""
    if not len(values):
        return "–"
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"


def class_rows(statistics: Mapping[str, DataStatistics], sides: Mapping[str, np.ndarray]) -> tuple[list[list], list]:
    """Counts the objects and images of each class in each split.

    Args:
        statistics: `DataStatistics` of each split.
        sides: float [G] for each split, a measure of the size of each object.

    Returns:
        A row for each class: its name and, for each split, its objects, the images that have any, and the median of
        the sides or None; and such a row for all classes together.
    """
    rows = {name: [name] for of_split in statistics.values() for name in of_split.class_names}
    total = ["all"]
    for split, of_split in statistics.items():
        objects, images = of_split.objects_per_class.tolist(), of_split.images_per_class.tolist()
        values = {
            name: [objects[label], images[label], median(sides[split][of_split.labels == label + 1])]
            for label, name in enumerate(of_split.class_names)
        }
        for name, row in rows.items():
            row += values.get(name, [0, 0, None])
        total += [len(of_split.labels), int((of_split.objects_per_image > 0).sum()), median(sides[split])]
    return list(rows.values()), total


def median(values: np.ndarray) -> float | None:
    """Returns the median, or None without values."""
    return float(np.median(values)) if len(values) else None


def statistics_json(statistics: DataStatistics) -> dict[str, Any]:
    """Returns the statistics as a dict for JSON: counts, the classes, and quantiles of the distributions.

    Args:
        statistics: `DataStatistics`.

    Returns:
        Dict with images, without_objects, objects, crowds, sizes (objects of each of `SIZE_NAMES`), quantiles (of
        widths, heights, objects_per_image and box_sides, at `QUANTILES`; None without values) and classes.
    """
    names, counts = statistics.class_names, statistics.objects_per_image
    objects, images = statistics.objects_per_class.tolist(), statistics.images_per_class.tolist()
    sides = [median(statistics.box_sides[statistics.labels == label]) for label in range(1, len(names) + 1)]
    groups = np.bincount(statistics.size_groups, minlength=len(SIZE_NAMES)).tolist()
    return {
        "images": len(counts),
        "without_objects": int((counts == 0).sum()),
        "objects": len(statistics.labels),
        "crowds": int(statistics.num_crowds),
        "sizes": dict(zip(SIZE_NAMES, groups)),
        "quantiles": {"at": list(QUANTILES), **distributions(statistics)},
        "classes": [
            {"name": name, "objects": of_class, "images": with_any, "median_side": side}
            for name, of_class, with_any, side in zip(names, objects, images, sides)
        ],
    }


def distributions(statistics: DataStatistics) -> dict[str, list[float] | None]:
    """Returns the values at `QUANTILES` of image sizes, objects in an image and box sides; None without values."""
    values = {
        "widths": statistics.image_sizes[:, 1],
        "heights": statistics.image_sizes[:, 0],
        "objects_per_image": statistics.objects_per_image,
        "box_sides": statistics.box_sides,
    }
    return {
        name: np.quantile(of_name, QUANTILES).tolist() if len(of_name) else None for name, of_name in values.items()
    }
