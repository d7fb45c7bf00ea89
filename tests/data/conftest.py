"""What several test modules of the data share: data sets that are prepared once."""

import pytest

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
