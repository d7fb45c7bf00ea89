"""Names of formats and of splits."""

from __future__ import annotations

FORMATS = ("coco", "labelme", "labelme-xml", "via", "yolo", "masks", "voc", "cityscapes", "cvat")
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def split_name(name: str) -> str | None:
    """Returns "train", "val" or "test" for a name that programs have for it, with or without COCO's year, or None.

    Example:
        >>> split_name("valid"), split_name("train2017"), split_name("birds")
        ('val', 'train', None)
    """
    return _SPLITS.get(name.lower()) or _SPLITS.get(name.lower().removesuffix("2017").removesuffix("2014"))
