"""A data set of images of many sizes, made in a moment, so that images of a batch are padded for each other."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image
from small_training import CLASS_NAMES

from keras_mrcnn.data.prepare import prepare_dataset

# (h, w); most of them lie, so that the batches of one shape class hold images that differ.
SIZES = ((40, 60), (30, 70), (44, 56), (64, 48), (30, 50), (50, 50), (70, 40))
# How the networks of the tests see them.
VIEW = {"min_size": 64, "max_size": 160}
MASK_SIZE = 28


def write_mixed(folder):
    """Writes images, the fourth without objects, and annotations. Returns (annotation file, image folder)."""
    random, images, annotations = np.random.default_rng(7), [], []
    (folder / "images").mkdir(parents=True)
    for image_id, (height, width) in enumerate(SIZES, start=1):
        name = f"{image_id}.png"
        Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(folder / "images" / name)
        images.append({"id": image_id, "file_name": name, "height": height, "width": width})
        for _ in range(0 if image_id == 4 else 1 + image_id % 3):
            side = int(random.integers(10, 24))
            x, y = (int(random.integers(0, extent - side)) for extent in (width, height))
            annotations.append({
                "id": len(annotations) + 1, "image_id": image_id, "category_id": len(annotations) % 3 + 1,
                "bbox": [x, y, side, side], "area": side * side, "iscrowd": 0,
                "segmentation": [[x, y, x + side, y, x + side, y + side, x, y + side]],
            })  # fmt: skip
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASS_NAMES, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content))
    return folder / "instances.json", folder / "images"


def mixed_data(folder, mask_size=MASK_SIZE):
    """The `PreparedDataset` of `write_mixed`."""
    return prepare_dataset(*write_mixed(folder), folder / "prepared", mask_size=mask_size)
