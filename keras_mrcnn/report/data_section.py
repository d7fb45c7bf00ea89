"""Tables and charts of the data, and of how well the anchors fit it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from keras_mrcnn.config import ModelConfig
from keras_mrcnn.data.statistics import SIZE_NAMES, SPLIT_COLUMNS, DataStatistics, class_rows, split_row
from keras_mrcnn.report.charts import Axis, Chart, dot_chart, step_chart
from keras_mrcnn.report.statistics import ModelStatistics
from keras_mrcnn.report.tables import Column, Table

SPLIT_TITLES = {"train": "training", "val": "validation"}
SIZE_NOTES = dict(zip(SIZE_NAMES, ("below 32² px", "32² to 96² px", "above 96² px")))
SPLIT_HINTS = {
    "crowds": "regions of many objects, which are neither trained on nor missed",
    "objects an image": "mean",
}
IOU_EDGES = np.linspace(0, 1, 21)
SIZE_BINS_PER_OCTAVE = 2
MOST_PLACES = 20  # positions along an axis for image sizes


def split_table(statistics: Mapping[str, DataStatistics]) -> Table:
    """Returns a table with a row for each split: its images, its objects and their numbers."""
    columns = [Column(title, SPLIT_HINTS.get(title, "")) for title in SPLIT_COLUMNS]
    rows = [split_row(SPLIT_TITLES[split], of_split) for split, of_split in statistics.items()]
    return Table("The splits of the data", columns, rows)


def class_table(statistics: Mapping[str, ModelStatistics]) -> Table:
    """Returns a table with a row for each class: its objects and images in each split, and the size of its objects."""
    columns = [Column("class")]
    for split in statistics:
        columns += [Column(f"{SPLIT_TITLES[split]} objects"), Column("images with any", "that have such an object")]
        columns.append(Column("median side, px", "square root of the box's area, in the input of the model"))
    rows, total = class_rows(statistics, {split: of_split.sides for split, of_split in statistics.items()})
    return Table("Objects of each class", columns, rows, total)


def data_charts(statistics: Mapping[str, ModelStatistics], config: ModelConfig) -> list[Chart]:
    """Returns charts of the image sizes, the number of objects per image, and the sizes of the objects."""
    titled = {SPLIT_TITLES[split]: of_split for split, of_split in statistics.items()}
    most = max([of_split.objects_per_image.max(initial=1) for of_split in titled.values()])
    step = max(1, -(-(most + 1) // 30))
    sizes = {name: of_split.image_sizes[:, ::-1] for name, of_split in titled.items()}
    sides = {name: np.maximum(of_split.sides, 1.0) for name, of_split in titled.items()}
    edges = _side_edges(np.concatenate(list(sides.values())))
    return [
        _size_chart(sizes),
        step_chart(
            "Objects in an image",
            np.arange(0, most + 1 + step, step) - 0.5,
            {name: of_split.objects_per_image for name, of_split in titled.items()},
            Axis("objects", -0.5, most + step + 0.5, is_whole=True),
            "% of the images",
        ),
        step_chart(
            f"Sizes of the objects in the model's input (short side {config.min_size} px)",
            edges,
            sides,
            Axis("square root of the box's area, px", edges[0], edges[-1], is_log=True),
            "% of the objects",
        ),
    ]


def _size_chart(sizes: Mapping[str, np.ndarray]) -> Chart:
    """Returns a chart with a dot for each image size; both axes have the same scale."""
    every = np.concatenate(list(sizes.values()))
    low, high = (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)
    spare = max(0.08 * (high - low), 1.0)
    axes = (Axis(f"{side}, px", max(low - spare, 0.0), high + spare, is_whole=True) for side in ("width", "height"))
    groups = {name: _coarse(points, high - low) for name, points in sizes.items()}
    return dot_chart("Sizes of the images", groups, *axes)


def _coarse(points: np.ndarray, span: float) -> np.ndarray:
    """Moves many different points onto a grid, so that even 100,000 images make at most a few hundred dots."""
    step = max(1.0, span / MOST_PLACES)
    return np.round(points / step) * step if len(np.unique(points, axis=0)) > MOST_PLACES else points


def _side_edges(sides: np.ndarray) -> np.ndarray:
    """Returns the edges of bins that span whole octaves; each edge is the square root of two times the one before."""
    low, high = (sides.min(), sides.max()) if len(sides) else (16.0, 256.0)
    first, last = np.floor(np.log2(low)), np.ceil(np.log2(high) + 1e-9)
    return 2.0 ** np.linspace(first, last, int(last - first) * SIZE_BINS_PER_OCTAVE + 1)


def anchor_tables(statistics: ModelStatistics, config: ModelConfig) -> list[Table]:
    """Returns tables of how well the anchors fit, one by class and one by size of the objects."""
    columns = [
        Column("objects"),
        Column("mean IoU", "of each object with the anchor that fits it best", has_bars=True),
        Column("worst tenth", "a tenth of the objects have an IoU below this", has_bars=True),
        Column(f"IoU {config.rpn.positive_iou:g} or more", "share that makes an anchor positive by itself", True),
        Column(f"below {config.rpn.negative_iou:g}", "share that no anchor fits; the best is positive all the same"),
    ]
    every = _fit_row("all", np.ones(len(statistics.labels), bool), statistics, config)
    by_class = [
        _fit_row(name, statistics.labels == label, statistics, config)
        for label, name in enumerate(statistics.class_names, start=1)
    ]
    by_size = [
        _fit_row(name, statistics.size_groups == group, statistics, config) for group, name in enumerate(SIZE_NAMES)
    ]
    title = "Best IoU of any anchor with each object, by "
    return [
        Table(f"{title}class", [Column("class"), *columns], by_class, every),
        Table(f"{title}size", [Column("size"), *columns], by_size, every, SIZE_NOTES),
    ]


def _fit_row(name: str, chosen: np.ndarray, statistics: ModelStatistics, config: ModelConfig) -> list:
    """Returns the row of `anchor_tables` for the chosen objects, bool [G]."""
    ious = statistics.anchor_ious[chosen]
    if not len(ious):
        return [name, 0, None, None, None, None]
    shares = float((ious >= config.rpn.positive_iou).mean()), float((ious < config.rpn.negative_iou).mean())
    return [name, len(ious), float(ious.mean()), float(np.quantile(ious, 0.1)), *shares]


def anchor_chart(statistics: ModelStatistics, config: ModelConfig) -> Chart:
    """Returns a chart of the distribution of the best IoUs, by size of the objects."""
    groups = {name: statistics.anchor_ious[statistics.size_groups == group] for group, name in enumerate(SIZE_NAMES)}
    guides = {"negative": config.rpn.negative_iou, "positive": config.rpn.positive_iou}
    if config.rpn.negative_iou == config.rpn.positive_iou:
        guides = {"positive": config.rpn.positive_iou}
    x_axis = Axis("best IoU of any anchor", 0, 1)
    return step_chart("How well the best anchor fits", IOU_EDGES, groups, x_axis, "% of the objects", guides)
