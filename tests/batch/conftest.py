"""Pictures and a results folder for the tests of many pictures."""

import pytest
from fake_detector import fake_runtime, make_pictures

from keras_mrcnn.batch import run


@pytest.fixture
def pictures(tmp_path):
    """A folder of seven pictures with 0, 1, 2, 3, 0, 1 and 2 objects."""
    return make_pictures(tmp_path / "photos", 7)


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A model file that `predict_parts` runs as `fake_runtime`; the shapes of its batches are in `model.seen`."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"weights")
    seen = []
    monkeypatch.setattr(run, "open_runtime", lambda source: fake_runtime(seen))
    return type("Model", (), {"path": path, "seen": seen, "__fspath__": lambda self: str(path)})()
