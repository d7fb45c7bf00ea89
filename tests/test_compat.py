import importlib.abc
import importlib.util
import sys
from pathlib import Path

import keras
import pytest

from keras_mrcnn import compat
from keras_mrcnn.base.errors import UserError


def test_keras_3_flag_agrees_with_what_only_keras_3_has():
    # keras.ops exists on Keras 3 alone, and nothing else in this package may name it.
    assert hasattr(keras, "ops") is compat.KERAS_3
    assert isinstance(compat.KERAS_3, bool)


def test_another_backend_is_refused_at_once(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(UserError, match="Keras is set to the backend jax, .* set KERAS_BACKEND=tensorflow"):
        run_anew()


def test_a_backend_that_is_not_installed_is_refused_at_once(monkeypatch):
    class Missing(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name == "keras":
                raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(UserError, match="Keras is set to the backend torch"):
        run_anew()


def run_anew():
    spec = importlib.util.spec_from_file_location("compat_anew", compat.__file__)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_parts_that_use_keras_ask_for_the_backend_first():
    package = Path(compat.__file__).parent
    using = {path for path in package.rglob("*.py") if "\nimport keras\n" in path.read_text("utf-8")}
    # These two are imported by parts that have asked.
    using -= {package / "addons.py", package / "weights" / "keras_applications.py"}
    texts = {path.parent: (path.parent / "__init__.py").read_text("utf-8") for path in using}
    first = {folder: next(line for line in text.splitlines() if "import" in line) for folder, text in texts.items()}
    assert first and all(line.startswith("import keras_mrcnn.compat") for line in first.values()), first
