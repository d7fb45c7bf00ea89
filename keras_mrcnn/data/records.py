"""Whether the fields and the box of a COCO record can be used; the one place that both reading and the check ask."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

# Boxes are often rounded up to whole pixels; one that passes the border by no more than this is clipped in silence.
BOX_TOLERANCE = 1.0
LARGEST = 2**53  # float64 holds all integers up to here
# pycocotools counts pixels and walks along edges in 32 bits, and allocates a byte for each pixel of a mask.
LONGEST_SIDE = 2**20
MOST_PIXELS = 2**30


def category_fault(record: Any) -> str | None:
    """Says what is wrong with an entry of 'categories', to follow its name in a sentence; None if nothing is."""
    return field_fault(record, _CATEGORY_FIELDS)


def image_fault(record: Any) -> str | None:
    """Says what is wrong with an entry of 'images', to follow its name in a sentence; None if nothing is."""
    fault = field_fault(record, _IMAGE_FIELDS)
    if fault is None and record["height"] * record["width"] > MOST_PIXELS:
        return f"has {record['width']} x {record['height']} pixels, which are more than {MOST_PIXELS}"
    return fault


def annotation_fault(record: Any) -> str | None:
    """Says what is wrong with an entry of 'annotations', its segmentation apart, as `image_fault` does."""
    return field_fault(record, _ANNOTATION_FIELDS, _ANNOTATION_OPTIONS)


def clipped_box(box_xywh: Sequence[float], height: int, width: int) -> np.ndarray:
    """COCO's [x, y, width, height] -> float32 [4], xyxy pixels, clipped to the image."""
    x, y, w, h = (float(value) for value in box_xywh)
    corners = np.array([x, y, x + w, y + h])
    return corners.clip(0, [width, height, width, height]).astype(np.float32)


def box_faults(box_xywh: list[float], height: int, width: int) -> Iterator[tuple[str, str]]:
    """Gives kind and message of what is wrong with a well-formed [x, y, width, height] in an image of that size."""
    x, y, w, h = box_xywh
    corners = clipped_box(box_xywh, height, width)
    if w <= 0 or h <= 0:
        yield "box without area", f"bbox {box_xywh} (x, y, width, height) has no area"
    elif min(x + w, width) <= max(x, 0) or min(y + h, height) <= max(y, 0):
        yield "box outside", f"bbox {box_xywh} (x, y, width, height) lies wholly outside the {width} x {height} image"
    elif min(x, y) < -BOX_TOLERANCE or x + w > width + BOX_TOLERANCE or y + h > height + BOX_TOLERANCE:
        yield "box outside", f"bbox {box_xywh} (x, y, width, height) reaches outside the {width} x {height} image"
    elif not (corners[:2] < corners[2:]).all():  # as training will see it
        yield "box without area", f"bbox {box_xywh} (x, y, width, height) has no area once rounded to float32"


def field_fault(
    record: Any, fields: dict[str, Callable[[Any], bool]], options: dict[str, Callable[[Any], bool]] | None = None
) -> str | None:
    """Says what is wrong with the first bad field of a record.

    Args:
        record: an entry of a COCO list, of any type.
        fields: for each field that must be there, what tells a good value.
        options: the same for fields that may be left out.

    Returns:
        the fault, to follow the record's name in a sentence, or None.

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
    """Whether it is a finite number that float64 and pycocotools can hold; True and False are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def is_id(value: Any) -> bool:
    """Whether it is an integer of 64 bits; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def is_name(value: Any) -> bool:
    """Whether it is a string with something in it."""
    return isinstance(value, str) and bool(value)


def is_side(value: Any) -> bool:
    """Whether it is a positive integer that an image can have as a side."""
    return is_id(value) and 0 < value <= LONGEST_SIDE


def is_box(value: Any) -> bool:
    """Whether it is a list of four finite numbers."""
    return isinstance(value, (list, tuple)) and len(value) == 4 and all(map(is_number, value))


def is_flag(value: Any) -> bool:
    """Whether it is 0 or 1, False or True."""
    return isinstance(value, int) and value in (0, 1)


def shortened(value: Any) -> str:
    """Returns any value as a text of at most 60 characters, however long or deeply nested it is."""
    try:
        return (value if isinstance(value, str) else reprlib.repr(value))[:60]
    except ValueError:  # Python refuses to print integers of thousands of digits
        return f"of type {type(value).__name__}"


_CATEGORY_FIELDS = {"id": is_id, "name": is_name}
_IMAGE_FIELDS = {"id": is_id, "file_name": is_name, "height": is_side, "width": is_side}
_ANNOTATION_FIELDS = {"id": is_id, "image_id": is_id, "category_id": is_id, "bbox": is_box}
_ANNOTATION_OPTIONS = {"area": is_number, "iscrowd": is_flag}
# What tells the fault of an entry of each list of a COCO file.
FAULT_OF = {"categories": category_fault, "images": image_fault, "annotations": annotation_fault}
