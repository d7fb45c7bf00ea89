"""What a command prints on stderr: its own lines, and nothing that TensorFlow's libraries say of themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from child_programs import child_environment
from PIL import Image

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.cli import tensorflow_start

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "saved_models" / "demo.safetensors"


def predict(tmp_path, **variables):
    """Runs `keras-mrcnn predict` as a user does, without the variables that quieten the tests."""
    Image.fromarray(np.full((96, 128, 3), 120, np.uint8)).save(tmp_path / "grey.png")
    environment = {**child_environment(), **variables}
    if "TF_CPP_MIN_LOG_LEVEL" not in variables:
        environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    command = [sys.executable, "-m", "keras_mrcnn", "predict", str(DEMO), str(tmp_path / "grey.png")]
    arguments = [*command, "--out", str(tmp_path / "out")]
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=900, check=False)


def test_command_prints_nothing_that_looks_like_an_error(tmp_path):
    done = predict(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Wrote ")


def start(monkeypatch, action, level=None):
    """Runs `import_tensorflow` as if TensorFlow were not imported yet, and importing it did `action`."""
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.delenv(tensorflow_start.LOG_LEVEL, raising=False)
    if level is not None:
        monkeypatch.setenv(tensorflow_start.LOG_LEVEL, level)
    monkeypatch.setattr(tensorflow_start, "_import", action)
    tensorflow_start.import_tensorflow()


def say(error=None, has_gpu=True):
    def action():
        os.write(2, b"E a line of a library\n")
        if error is not None:
            raise error
        return has_gpu

    return action


def test_lines_are_held_back_while_tensorflow_is_imported(monkeypatch, capfd):
    start(monkeypatch, say())
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
    assert os.environ[tensorflow_start.LOG_LEVEL] == "2"


def test_lines_come_out_where_the_import_fails(monkeypatch, capfd):
    with pytest.raises(ImportError):
        start(monkeypatch, say(ImportError("no libstdc++")))
    assert capfd.readouterr().err == "E a line of a library\n"


def test_one_sentence_needs_no_lines_beside_it(monkeypatch, capfd):
    with pytest.raises(UserError):
        start(monkeypatch, say(UserError("Keras is set to the backend jax")))
    assert capfd.readouterr().err == ""


def test_whoever_sets_the_level_sees_the_lines(monkeypatch, capfd):
    start(monkeypatch, say(), level="0")
    assert capfd.readouterr().err == "E a line of a library\n"
    assert os.environ[tensorflow_start.LOG_LEVEL] == "0"


@pytest.mark.parametrize(
    ("driver", "visible", "hint"), [(True, None, 1), (False, None, 0), (True, "", 0), (True, "-1", 0)]
)
def test_a_gpu_that_is_not_used_is_named(monkeypatch, tmp_path, capsys, driver, visible, hint):
    monkeypatch.setattr(tensorflow_start, "NVIDIA_DRIVER", tmp_path if driver else tmp_path / "none")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    start(monkeypatch, say(has_gpu=False))
    assert capsys.readouterr().err.count("TensorFlow does not use the GPU of this machine") == hint
