"""The public names, and that the package itself imports nothing heavy."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import keras_mrcnn

ROOT = Path(__file__).resolve().parents[1]


def loaded_after(statement):
    """Which of the heavy libraries a fresh Python has loaded after a statement."""
    code = f"import sys\n{statement}\nprint(*sorted({{'tensorflow', 'keras', 'numpy', 'pydantic'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.split()


@pytest.mark.parametrize("statement", ["import keras_mrcnn; dir(keras_mrcnn)", "import keras_mrcnn.cli"])
def test_nothing_heavy_is_loaded_before_it_is_used(statement):
    assert loaded_after(statement) == []


def test_config_is_had_without_tensorflow():
    assert loaded_after("import keras_mrcnn; keras_mrcnn.Config") == ["pydantic"]


@pytest.mark.parametrize("module", ["base.records", "base.image_files", "serving", "serving.onnx_predictor"])
def test_clients_of_exported_models_need_no_tensorflow(module):
    assert set(loaded_after(f"import keras_mrcnn.{module}")) <= {"numpy", "PIL"}


@pytest.mark.parametrize("name", keras_mrcnn.__all__)
def test_public_name_is_what_its_module_calls_so(name):
    value = getattr(keras_mrcnn, name)
    assert name == "__version__" or value.__name__ == name
    assert name in dir(keras_mrcnn)


def test_public_names_are_few_and_as_promised():
    assert set(keras_mrcnn.__all__) == {
        "__version__", "Config", "load_config", "MaskRCNN", "RPNStage", "BoxStage", "MaskStage", "JointStage",
        "StagedTrainer", "batches_from",
        "CocoDataset", "PreparedDataset", "prepare_dataset", "training_dataset", "validation_dataset", "Detections",
        "Detector", "evaluate_model",
        "export_saved_model", "export_onnx",
    }  # fmt: skip


def test_name_is_looked_up_once():
    first = keras_mrcnn.Config
    assert keras_mrcnn.__dict__["Config"] is first
    assert importlib.import_module("keras_mrcnn.config").Config is first


def test_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(AttributeError, match="no attribute 'MaskRcnn'; it has .*MaskRCNN"):
        keras_mrcnn.MaskRcnn  # noqa: B018
