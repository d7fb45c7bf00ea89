"""Whether the fields and the box of a COCO record can be used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any

from keras_mrcnn.data.coco import clipped_box

# Boxes are often rounded up to whole pixels; one that passes the border by no more than this is clipped in silence.
BOX_TOLERANCE = 1.0


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


def field_fault(record: Any, fields: dict[str, Callable[[Any], bool]]) -> str | None:
    """Says what is wrong with the first bad field of a record.

    Args:
        record: an entry of a COCO list, of any type.
        fields: for each field that must be there, what tells a good value.

    Returns:
        the fault, to follow the record's name in a sentence, or None.

    Example:
        >>> field_fault({"id": "one"}, {"id": is_id})
        "has the bad value one in the field 'id'"
    """
    if not isinstance(record, dict):
        return "is not an object with fields"
    for name, is_good in fields.items():
        if name not in record:
            return f"lacks the field '{name}'"
        if not is_good(record[name]):
            return f"has the bad value {str(record[name])[:60]} in the field '{name}'"
    return None


def is_id(value: Any) -> bool:
    """Whether it is an integer; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_name(value: Any) -> bool:
    """Whether it is a string with something in it."""
    return isinstance(value, str) and bool(value)


def is_side(value: Any) -> bool:
    """Whether it is a positive integer."""
    return is_id(value) and value > 0


def is_box(value: Any) -> bool:
    """Whether it is a list of four finite numbers."""
    is_number = all(isinstance(v, (int, float)) and isfinite(v) for v in value) if isinstance(value, list) else False
    return is_number and len(value) == 4
