"""A few generated scenes, drawn once for all tests of training."""

import pytest

from keras_mrcnn.scenes.generator import generate_scenes


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """`GeneratedScenes`: four images to train on, two to validate, of 64 to 80 pixels."""
    folder = tmp_path_factory.mktemp("scenes")
    return generate_scenes(
        folder, num_train=4, num_val=2, seed=3, height_range=(64, 80), width_range=(64, 80), workers=1
    )
