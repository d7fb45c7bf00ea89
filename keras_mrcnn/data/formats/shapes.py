"""Converts shapes that people draw to COCO segmentations: polygons, or compressed run-length codes of masks.

Points are pixels from the upper left corner of the picture; pixel (i, j) covers the square from (i, j) to (i+1, j+1).
A part of an object is a polygon [x0, y0, x1, y1, ...], or the run-length code of a mask.

Shapes: H and W height and width of a picture.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Union

import numpy as np
from pycocotools import mask as mask_api

Part = Union[list[float], dict[str, Any]]
_ARC = 0.05  # pixels; a polygon leaves the curve that it stands for by no more than this
_FEWEST_POINTS, _MOST_POINTS = 16, 720  # of the polygon of an ellipse


@dataclass
class Shape:
    """What somebody drew: an object, or a part of one.

    Attributes:
        label: name of its class.
        parts: polygons and run-length codes.
        where: its name in error messages.
        group: shapes of one label and one group are one object; None for an object of its own.
        is_crowd: whether it is a region of many objects.
        is_rectangle: whether it is only a box around the object.
    """

    label: str
    parts: list[Part]
    where: str
    group: Hashable = None
    is_crowd: bool = False
    is_rectangle: bool = False


def join_groups(shapes: Iterable[Shape]) -> list[Shape]:
    """Joins the shapes of each object.

    Args:
        shapes: the shapes of one picture.

    Returns:
        The objects, in the order of their first shapes.

    Example:
        >>> person = Shape("person", [[0, 0, 1, 0, 1, 1]], "shape 1", group=7)
        >>> arm = Shape("person", [[5, 5, 6, 5, 6, 6]], "shape 2", group=7)
        >>> [len(shape.parts) for shape in join_groups([person, arm])]
        [2]
    """
    objects: dict[Hashable, Shape] = {}
    for number, shape in enumerate(shapes):
        key = (number,) if shape.group is None else (shape.label, shape.group, shape.is_crowd)
        if key in objects:
            objects[key].parts.extend(shape.parts)
        else:
            objects[key] = replace(shape, parts=list(shape.parts))
    return list(objects.values())


def rectangle(x0: float, y0: float, x1: float, y1: float, angle: float = 0.0) -> list[float]:
    """Returns a rectangle between two corners as a polygon, turned about its centre.

    Args:
        x0, y0, x1, y1: two opposite corners before the turn, pixels.
        angle: radians, clockwise as one sees it.

    Example:
        >>> rectangle(1, 2, 4, 3)
        [1, 2, 4, 2, 4, 3, 1, 3]
    """
    corners = [x0, y0, x1, y0, x1, y1, x0, y1]
    return _turned(corners, (x0 + x1) / 2, (y0 + y1) / 2, angle) if angle else corners


def ellipse(x: float, y: float, radius_x: float, radius_y: float, angle: float = 0.0) -> list[float]:
    """Returns an ellipse as a polygon whose edges are nowhere further than 0.05 pixels from it, up to 720 points.

    Args:
        x, y: centre, pixels.
        radius_x, radius_y: half axes, pixels.
        angle: radians, clockwise as one sees it.
    """
    radius = max(abs(radius_x), abs(radius_y), _ARC)
    count = min(max(math.ceil(math.pi / math.sqrt(2 * _ARC / radius)), _FEWEST_POINTS), _MOST_POINTS)
    angles = [2 * math.pi * number / count for number in range(count)]
    points = [value for a in angles for value in (x + radius_x * math.cos(a), y + radius_y * math.sin(a))]
    return _turned(points, x, y, angle) if angle else points


def _turned(points: list[float], x: float, y: float, angle: float) -> list[float]:
    """Turns points about (x, y)."""
    cos, sin = math.cos(angle), math.sin(angle)
    pairs = [(px - x, py - y) for px, py in zip(points[::2], points[1::2])]
    return [value for dx, dy in pairs for value in (x + dx * cos - dy * sin, y + dx * sin + dy * cos)]


def run_length_codes(
    values: np.ndarray, height: int, width: int, left: int = 0, top: int = 0
) -> dict[int, dict[str, Any]]:
    """Returns the compressed run-length code of each number in an array, except 0.

    Args:
        values: bool or integer [h, w], for each pixel the number of an object, 0 for none.
        height, width: size of the picture, pixels.
        left, top: place of the array in the picture, pixels; what reaches outside the picture is cut off.

    Returns:
        A dict from the numbers in ascending order to {"size": [height, width], "counts": str}.

    Example:
        >>> run_length_codes(np.array([[0, 1], [0, 1]]), 2, 2)
        {1: {'size': [2, 2], 'counts': '22'}}
    """
    values = values[max(-top, 0) : max(height - top, 0), max(-left, 0) : max(width - left, 0)]
    left, top = max(left, 0), max(top, 0)
    columns = np.zeros((height, values.shape[1]), values.dtype)
    columns[top : top + len(values)] = values
    flat = columns.ravel(order="F")
    starts = np.flatnonzero(np.diff(flat, prepend=flat[:1] ^ 1)) if flat.size else np.zeros(0, np.int64)
    ends = np.append(starts[1:], flat.size)[: len(starts)]
    numbers = flat[starts]
    shift = left * height
    order = np.argsort(numbers, kind="stable")
    codes = {}
    for number, rows in zip(*_groups(numbers[order], order)):
        if number:
            codes[number] = _code(starts[rows] + shift, ends[rows] + shift, height, width)
    return codes


def _groups(numbers: np.ndarray, order: np.ndarray) -> tuple[list[int], list[np.ndarray]]:
    """Returns each number of a sorted array, and the entries of `order` that belong to it."""
    unique, firsts = np.unique(numbers, return_index=True)
    return [int(number) for number in unique], np.split(order, firsts[1:])


def _code(starts: np.ndarray, ends: np.ndarray, height: int, width: int) -> dict[str, Any]:
    """Returns the compressed code of runs of pixels, counted column by column."""
    borders = np.concatenate([[0], np.stack([starts, ends], axis=1).ravel(), [height * width]])
    counts = np.diff(borders).tolist()
    return compressed({"size": [height, width], "counts": counts if counts[-1] else counts[:-1]})


def compressed(code: dict[str, Any]) -> dict[str, Any]:
    """Returns a well-formed run-length code, compressed or not, as a compressed one whose counts are a str."""
    if isinstance(code["counts"], list):
        code = mask_api.frPyObjects(code, *code["size"])
    counts = code["counts"]
    return {"size": list(code["size"]), "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}


def segmentation_of(parts: list[Part], height: int, width: int) -> list[list[float]] | dict[str, Any]:
    """Returns the segmentation of an object of well-formed parts: polygons, or a run-length code if one part is one."""
    if all(isinstance(part, list) for part in parts):
        return parts
    if len(parts) == 1:
        return parts[0]
    codes = [mask_api.frPyObjects([part], height, width)[0] if isinstance(part, list) else part for part in parts]
    return compressed(mask_api.merge(codes))


def area_and_box(segmentation: list | dict, height: int, width: int) -> tuple[float, list[float]]:
    """Measures a well-formed segmentation.

    Returns:
        Area in pixels of the mask within the picture, and the box [x, y, width, height]: of polygons that of their
        points, of a mask that of its pixels, inside the picture.

    Example:
        >>> area_and_box([[1, 1, 3, 1, 3, 3, 1, 3]], 4, 6)
        (4.0, [1.0, 1.0, 2.0, 2.0])
    """
    is_polygons = isinstance(segmentation, list)
    code = mask_api.merge(mask_api.frPyObjects(segmentation, height, width)) if is_polygons else segmentation
    area = float(mask_api.area(code))
    if is_polygons:
        xs = [min(max(x, 0), width) for polygon in segmentation for x in polygon[::2]]
        ys = [min(max(y, 0), height) for polygon in segmentation for y in polygon[1::2]]
        box = [float(value) for value in (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))]
        if box[2] > 0 and box[3] > 0:
            return area, box
    return area, [float(value) for value in mask_api.toBbox(code)]
