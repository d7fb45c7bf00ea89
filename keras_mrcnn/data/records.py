"""Rules for the fields and boxes of COCO records, shared by the reader and the check."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

# Pixels. Boxes are often rounded up to whole pixels, so one that reaches this far beyond the image is just clipped.
BOX_TOLERANCE = 1.0
LARGEST = 2**53  # float64 represents all integers up to this one exactly
# pycocotools counts pixels and follows edges with 32-bit integers, and allocates a byte for each pixel of a mask.
LONGEST_SIDE = 2**20
MOST_PIXELS = 2**30


def category_fault(record: Any) -> str | None:
    """Returns what is wrong with an entry of 'categories', as the rest of a sentence after its name, or None."""
    return field_fault(record, _CATEGORY_FIELDS)


def image_fault(record: Any) -> str | None:
    """Returns what is wrong with an entry of 'images', as the rest of a sentence after its name, or None."""
    fault = field_fault(record, _IMAGE_FIELDS)
    if fault is None and record["height"] * record["width"] > MOST_PIXELS:
        return f"has {record['width']} x {record['height']} pixels, which are more than {MOST_PIXELS}"
    return fault


def annotation_fault(record: Any) -> str | None:
    """Returns what is wrong with an entry of 'annotations' except its segmentation, as `image_fault` does, or None."""
    return field_fault(record, _ANNOTATION_FIELDS, _ANNOTATION_OPTIONS)


def clipped_box(box_xywh: Sequence[float], height: int, width: int) -> np.ndarray:
    """Converts COCO's [x, y, width, height] to float32 [4], xyxy pixels, clipped to the image."""
    x, y, w, h = (float(value) for value in box_xywh)
    corners = np.array([x, y, x + w, y + h])
    return corners.clip(0, [width, height, width, height]).astype(np.float32)


def box_faults(box_xywh: list[float], height: int, width: int) -> Iterator[tuple[str, str]]:
    """Gives kind and message of each problem of a well-formed [x, y, width, height] in an image of the given size."""
    x, y, w, h = box_xywh
    corners = clipped_box(box_xywh, height, width)
    if w <= 0 or h <= 0:
        yield "box without area", f"bbox {box_xywh} (x, y, width, height) has no area"
    elif min(x + w, width) <= max(x, 0) or min(y + h, height) <= max(y, 0):
        yield "box outside", f"bbox {box_xywh} (x, y, width, height) lies wholly outside the {width} x {height} image"
    elif min(x, y) < -BOX_TOLERANCE or x + w > width + BOX_TOLERANCE or y + h > height + BOX_TOLERANCE:
        yield "box outside", f"bbox {box_xywh} (x, y, width, height) reaches outside the {width} x {height} image"
    elif not (corners[:2] < corners[2:]).all():  # as training uses it
        yield "box without area", f"bbox {box_xywh} (x, y, width, height) has no area once rounded to float32"


def field_fault(
    record: Any, fields: dict[str, Callable[[Any], bool]], options: dict[str, Callable[[Any], bool]] | None = None
) -> str | None:
    """Returns what is wrong with the first bad field of a record.

    Args:
        record: entry of a COCO list, of any type.
        fields: for each required field, a function that returns whether a value is good.
        options: the same for optional fields.

    Returns:
        The fault, as the rest of a sentence after the record's name, or None.

    Example:
        >>> field_fault({"id": "one"}, {"id": is_id})
        "has the bad value one in the field 'id'"
    """
    if not isinstance(record, dict):
        return "is not an object with fields"
    for name, is_good in {**fields, **(options or {})}.items():
        if name in record:
            if not is_good(record[name]):
                return f"has the bad value {shortened(record[name])} in the field '{name}'"
        elif name in fields:
            return f"lacks the field '{name}'"
    return None


def is_number(value: Any) -> bool:
    """Returns whether a value is a finite number that float64 and pycocotools can hold; a bool is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def is_id(value: Any) -> bool:
    """Returns whether a value is a 64-bit integer; a bool is not."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def is_name(value: Any) -> bool:
    """Returns whether a value is a string that is not empty."""
    return isinstance(value, str) and bool(value)


def is_side(value: Any) -> bool:
    """Returns whether a value is a positive integer, and not too large for the side of an image."""
    return is_id(value) and 0 < value <= LONGEST_SIDE


def is_box(value: Any) -> bool:
    """Returns whether a value is a list of four finite numbers."""
    return isinstance(value, (list, tuple)) and len(value) == 4 and all(map(is_number, value))


def is_flag(value: Any) -> bool:
    """Returns whether a value is 0, 1, False or True."""
    return isinstance(value, int) and value in (0, 1)


def shortened(value: Any) -> str:
    """Returns any value as text of at most 60 characters, however long or deeply nested it is."""
    try:
        return (value if isinstance(value, str) else reprlib.repr(value))[:60]
    except ValueError:  # Python refuses to print integers of thousands of digits
        return f"of type {type(value).__name__}"


_CATEGORY_FIELDS = {"id": is_id, "name": is_name}
_IMAGE_FIELDS = {"id": is_id, "file_name": is_name, "height": is_side, "width": is_side}
_ANNOTATION_FIELDS = {"id": is_id, "image_id": is_id, "category_id": is_id, "bbox": is_box}
_ANNOTATION_OPTIONS = {"area": is_number, "iscrowd": is_flag}
# The function that returns the fault of an entry, for each list of a COCO file.
FAULT_OF = {"categories": category_fault, "images": image_fault, "annotations": annotation_fault}
