"""What several test modules of the data share: data sets that are prepared once."""

import json

import numpy as np
import pytest
from PIL import Image

from keras_mrcnn.data.prepare import prepare_dataset
from keras_mrcnn.data.prepared import PreparedDataset


@pytest.fixture(scope="session")
def tiny(tiny_prepared):
    """The small data set of `tiny_coco`, prepared."""
    return PreparedDataset(tiny_prepared)


@pytest.fixture(scope="session")
def photographs(coco_mini, tmp_path_factory):
    """The real photographs of the validation set, prepared."""
    annotations = coco_mini / "annotations" / "instances_val.json"
    return prepare_dataset(annotations, coco_mini / "images" / "val", tmp_path_factory.mktemp("photographs") / "data")


@pytest.fixture(scope="session")
def many(tmp_path_factory):
    """A data-set folder with 30 images of one object each, and no validation images."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "annotations").mkdir()
    (folder / "images" / "train").mkdir(parents=True)
    random, images, annotations = np.random.default_rng(0), [], []
    for image_id in range(30):
        height, width = random.integers(100, 200, 2).tolist()
        name = f"{image_id}.{'jpg' if image_id % 2 else 'png'}"
        Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(folder / "images" / "train" / name)
        images.append({"id": image_id, "file_name": name, "height": height, "width": width})
        x, y, side = random.integers(1, 30, 3).tolist()
        annotations.append({
            "id": image_id + 1, "image_id": image_id, "category_id": image_id % 3, "bbox": [x, y, side, side],
            "segmentation": [[x, y, x + side, y, x + side, y + side, x, y + side]], "area": side**2, "iscrowd": 0,
        })  # fmt: skip
    categories = [{"id": number, "name": f"class {number}"} for number in range(3)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / "train.json").write_text(json.dumps(content))
    return folder
