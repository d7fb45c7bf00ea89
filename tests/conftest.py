"""What several test modules share: a quiet TensorFlow, fixed seeds, and small data sets."""

import json
import os
import random
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest
from PIL import Image

COCO_MINI = Path(__file__).resolve().parents[2] / "shared" / "data" / "coco-mini"


@pytest.fixture(autouse=True)
def _fixed_seeds():
    random.seed(0)
    np.random.seed(0)


@pytest.fixture(scope="session")
def coco_mini():
    """Folder of the real photographs; the test is skipped where they are not."""
    if not COCO_MINI.is_dir():
        pytest.skip("coco-mini is not here")
    return COCO_MINI


def square(x, y, side):
    """A square as a COCO polygon."""
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


def tiny_content():
    """COCO annotations of four images: two objects, one object and a crowd, one object as RLE, none."""
    sizes = {3: (40, 60), 5: (64, 48), 8: (40, 60), 9: (50, 50)}
    names = ("kite", "dog")

    def annotation(number, image_id, category_id, box, segmentation, iscrowd=0):
        return {
            "id": number,
            "image_id": image_id,
            "category_id": category_id,
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": iscrowd,
            "segmentation": segmentation,
        }

    # 40 x 60, column by column: ten columns of nothing, then rows 10..29 of twenty columns.
    code = {"size": [40, 60], "counts": [410, *([20, 20] * 20)]}
    code["counts"][-1] += 40 * 60 - sum(code["counts"])
    return {
        "images": [
            {"id": image_id, "file_name": f"image{image_id}.png", "height": height, "width": width}
            for image_id, (height, width) in sizes.items()
        ],
        "annotations": [
            annotation(1, 3, 18, [10, 10, 20, 20], square(10, 10, 20)),
            annotation(2, 3, 7, [40, 5, 10, 10], square(40, 5, 10)),
            annotation(3, 5, 7, [0, 30, 30, 30], square(0, 30, 30)),
            annotation(4, 5, 18, [30, 0, 10, 10], {"size": [64, 48], "counts": [1920, 640, 512]}, iscrowd=1),
            annotation(5, 8, 18, [10, 10, 20, 20], code),
        ],
        "categories": [{"id": 18, "name": names[1]}, {"id": 7, "name": names[0]}],
    }


def write_tiny(folder):
    """Writes `tiny_content` and images of noise. Returns (annotation file, image folder, content)."""
    content = tiny_content()
    (folder / "images").mkdir()
    noise = np.random.default_rng(1)
    for record in content["images"]:
        pixels = noise.integers(0, 256, (record["height"], record["width"], 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / record["file_name"])
    annotation_file = folder / "instances.json"
    annotation_file.write_text(json.dumps(content))
    return annotation_file, folder / "images", content


@pytest.fixture
def tiny_coco(tmp_path):
    """(annotation file, image folder, content) of a data set made for the test, free to be damaged."""
    return write_tiny(tmp_path)


@pytest.fixture(scope="session")
def tiny_prepared(tmp_path_factory):
    """Folder of the same data set, prepared with masks of 8 x 8; to be read alone."""
    from keras_mrcnn.data.prepare import prepare_dataset

    folder = tmp_path_factory.mktemp("tiny")
    annotation_file, images, _ = write_tiny(folder)
    return prepare_dataset(annotation_file, images, folder / "prepared", mask_size=8, workers=1).folder
