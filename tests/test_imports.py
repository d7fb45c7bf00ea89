"""The import rules of the package, read from the source: which part may import which, and who may ask for Keras."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "keras_mrcnn"
ANYTHING = None

# Data flows one way: config -> data -> layers and models -> targets and losses -> training -> ... -> serving.
# A part is the first name below keras_mrcnn; a dotted name allows that one module of a part.
ALLOWED: dict[str, set[str] | None] = {
    "base": set(),  # which every part may import, and
    "whole_files": set(),
    "config": set(),
    "pasting": set(),
    "structures": {"pasting"},
    "detection_outputs": {"structures"},
    "compat": set(),
    "addons": set(),
    "ops": set(),
    "data": {"config", "structures", "ops"},
    "layers": {"ops", "compat"},
    "models": {"layers", "config", "compat"},
    "targets": {"ops"},
    "losses": {"ops"},
    "training": {"config", "structures", "compat", "addons", "ops", "layers", "models", "targets", "losses"},
    "training.checkpoint": {"weights"},  # on top of what training may import
    "training.cache_key": {"weights"},
    "training.frozen_part": {"data.transforms"},
    "training.feature_cache": {"data"},
    "training.distribution": {"data.sharing"},
    "training.batches": {"data"},
    "training.run_start": {"data", "weights"},
    "training.trainer": {"data", "evaluation", "weights"},
    "evaluation": {"structures", "data.coco", "ops", "targets"},
    "weights": {"models", "config"},
    "export": {"models", "layers", "structures", "detection_outputs", "data.transforms"},
    "export.model_card": {"config", "evaluation.tables"},
    "serving": {"structures", "detection_outputs"},
    "visualize": {"structures", "evaluation"},
    "stage_views": {
        "data.transforms", "detection_outputs", "layers", "models", "ops", "structures", "targets", "visualize",
    },
    "video": {"structures", "detection_outputs", "export.detector", "visualize", "data.images"},
    "report": {"config", "data", "structures", "evaluation", "visualize", "layers.anchors"},
    "predict": {"config", "data", "models", "evaluation", "structures"},
    "cli": ANYTHING,
    "__init__": ANYTHING,
    "__main__": ANYTHING,
}
# Serving runs where TensorFlow is not installed, and so must what it imports.
WITHOUT_TENSORFLOW = ("base", "serving", "structures", "pasting", "detection_outputs", "whole_files")
MAY_SKIP_BY_KERAS_VERSION = {"test_compat.py", "test_addons.py"}


def module_name(path: Path) -> str:
    """The dotted name below keras_mrcnn: models/fpn.py -> models.fpn, ops/__init__.py -> ops."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def imported_names(tree: ast.AST, package: str = "") -> set[str]:
    """Dotted names of all that is imported anywhere in `tree`, relative imports made absolute.

    `package` is the dotted package that the source lies in. `from a import b` gives a.b: b may be a module.
    """
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join(filter(None, [*parents[: len(parents) - node.level + 1], base]))
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


def forbidden_imports(source: str, module: str, is_package: bool = False) -> list[str]:
    """The imports of ours in `source` that the module (dotted, below keras_mrcnn) must not have."""
    part = module.split(".")[0]
    allowed = ALLOWED[part]
    if allowed is ANYTHING:
        return []
    allowed = allowed | ALLOWED.get(module, set()) | {part, "__version__", "base", "whole_files"}
    here = f"keras_mrcnn.{module}" if is_package else f"keras_mrcnn.{module}".rpartition(".")[0]
    ours = {name for name in imported_names(ast.parse(source), here) if name.split(".")[0] == "keras_mrcnn"}
    # An import of the package itself reaches for its public names, so for everything.
    below = {name: name.partition(".")[2] for name in ours}
    return sorted(name for name, rest in below.items() if not any(f"{rest}.".startswith(f"{ok}.") for ok in allowed))


def dotted(node: ast.AST) -> str:
    """The text of a chain of names such as tf.keras.layers, and "" for anything else."""
    return ast.unparse(node) if isinstance(node, (ast.Attribute, ast.Name)) else ""


def forbidden_keras_names(source: str) -> list[str]:
    """Uses of tf.keras, tf_keras and keras.ops: each means something else on one of the two stacks."""
    tree = ast.parse(source)
    used = {dotted(node) for node in ast.walk(tree)} | imported_names(tree)
    roots = ("tf.keras", "tensorflow.keras", "tf_keras", "keras.ops")
    return sorted({root for root in roots for name in used if f"{name}.".startswith(f"{root}.")})


def asks_for_keras_version(source: str) -> bool:
    """Whether the source looks at the version of Keras or TensorFlow by any of the usual ways."""
    tree = ast.parse(source)
    modules = ("keras", "tf", "tensorflow")
    names = {f"{module}.{name}" for module in modules for name in ("__version__", "version", "VERSION")}
    if any(f"{name}.".startswith(f"{bad}.") for name in imported_names(tree) for bad in names):
        return True
    for node in ast.walk(tree):
        if dotted(node) in names:
            return True
        called = dotted(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""
        if called == "version" and {"keras", "tensorflow"} & {getattr(arg, "value", None) for arg in node.args}:
            return True
    return False


def skips_by_keras_version(source: str) -> bool:
    """Whether a test file marks, skips or leaves out tests by the version of Keras or the presence of addons."""
    hints = ("KERAS_3", "__version__", "tensorflow_addons")
    for node in ast.walk(ast.parse(source)):
        called = dotted(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""
        is_skip = called in {"skipif", "xfail", "importorskip"} and any(hint in ast.unparse(node) for hint in hints)
        is_branch = isinstance(node, ast.If) and any(hint in ast.unparse(node.test) for hint in hints)
        if is_skip or (is_branch and any(word in ast.unparse(node) for word in ("pytest.skip", "pytest.xfail"))):
            return True
    return False


MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = sorted([*MODULES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")])


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_module_imports_only_what_its_part_may(path):
    module = module_name(path)
    assert module.split(".")[0] in ALLOWED, f"{relative(path)} is of no part that the import rules name"
    found = forbidden_imports(path.read_text("utf-8"), module, path.name == "__init__.py")
    assert found == [], f"{relative(path)} must not import {', '.join(found)}"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_source_keeps_the_rules_of_two_stacks(path):
    source = path.read_text("utf-8")
    names = {name.split(".")[0] for name in imported_names(ast.parse(source))}
    assert forbidden_keras_names(source) == []
    assert path == PACKAGE / "compat.py" or not asks_for_keras_version(source), "only compat.py asks for a version"
    assert path == PACKAGE / "addons.py" or "tensorflow_addons" not in names, "only addons.py imports tensorflow-addons"
    assert not names & {"notebooks"}, "nothing imports the notebooks"
    assert path.is_relative_to(ROOT / "tests") or "scripts" not in names, "nothing imports the scripts"


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=relative)
def test_tests_run_on_both_stacks(path):
    assert path.name in MAY_SKIP_BY_KERAS_VERSION or not skips_by_keras_version(path.read_text("utf-8"))


def test_serving_needs_no_tensorflow():
    paths = [path for path in MODULES if module_name(path).split(".")[0] in WITHOUT_TENSORFLOW]
    assert PACKAGE / "structures.py" in paths
    for path in paths:
        names = {name.split(".")[0] for name in imported_names(ast.parse(path.read_text("utf-8")))}
        assert not names & {"tensorflow", "keras", "tensorflow_addons"}, relative(path)


def test_config_is_read_only_by_the_model_that_wires_and_by_the_trainer():
    readers = set()
    for path in MODULES:
        names = imported_names(ast.parse(path.read_text("utf-8")), "keras_mrcnn")
        if any(f"{name}.".startswith("keras_mrcnn.config.") for name in names):
            readers.add(module_name(path))
    parts = {name for name in readers if name.split(".")[0] in {"models", "training"}}
    assert parts <= {"models.mask_rcnn", "training.trainer"}


def test_compat_is_short():
    assert len((PACKAGE / "compat.py").read_text("utf-8").splitlines()) <= 100


@pytest.mark.parametrize(
    ("source", "module", "expected"),
    [
        ("import numpy\nfrom keras_mrcnn.ops import boxes", "data.coco", []),
        ("from keras_mrcnn.models import fpn", "data.coco", ["keras_mrcnn.models.fpn"]),
        ("from ..models.fpn import FPN", "layers.anchors", ["keras_mrcnn.models.fpn.FPN"]),
        ("from .. import compat", "layers.anchors", []),
        ("from . import fpn", "models.mask_rcnn", []),
        ("def f():\n    import keras_mrcnn.cli", "ops.boxes", ["keras_mrcnn.cli"]),
        ("from keras_mrcnn import MaskRCNN", "training.stages", ["keras_mrcnn.MaskRCNN"]),
        ("from keras_mrcnn.data import pipeline", "training.trainer", []),
        ("from keras_mrcnn.data import pipeline", "training.stages", ["keras_mrcnn.data.pipeline"]),
        ("from keras_mrcnn.data import transforms", "export.onnx", []),
        ("from keras_mrcnn.data import pipeline", "export.onnx", ["keras_mrcnn.data.pipeline"]),
        ("from keras_mrcnn.data import transforms_extra", "export.onnx", ["keras_mrcnn.data.transforms_extra"]),
        ("from keras_mrcnn import __version__", "export.saved_model", []),
        ("import keras_mrcnn.serving, keras_mrcnn.report", "cli", []),
    ],
)
def test_rule_finds_forbidden_imports(source, module, expected):
    assert forbidden_imports(source, module) == expected


def test_relative_imports_of_a_package_file_start_at_the_package():
    assert forbidden_imports("from . import masks", "ops", is_package=True) == []
    assert forbidden_imports("from .. import config", "ops", is_package=True) == ["keras_mrcnn.config"]


def test_module_names():
    assert module_name(PACKAGE / "models" / "fpn.py") == "models.fpn"
    assert module_name(PACKAGE / "ops" / "__init__.py") == "ops"
    assert module_name(PACKAGE / "__init__.py") == "__init__"


def test_rule_finds_forbidden_keras_names():
    assert forbidden_keras_names("import keras\nkeras.layers.Dense(1)\nkeras.operations") == []
    assert forbidden_keras_names("tf.keras.layers.Dense(1)") == ["tf.keras"]
    assert forbidden_keras_names("from tensorflow import keras") == ["tensorflow.keras"]
    assert forbidden_keras_names("from tensorflow.keras.layers import Dense") == ["tensorflow.keras"]
    assert forbidden_keras_names("import tf_keras") == ["tf_keras"]
    assert forbidden_keras_names("y = keras.ops.abs(x)") == ["keras.ops"]
    assert forbidden_keras_names("from keras import ops") == ["keras.ops"]


def test_rule_finds_questions_for_a_version():
    assert not asks_for_keras_version("print(numpy.__version__)\nversion('numpy')\nkeras.layers")
    assert asks_for_keras_version("if keras.__version__ > '3': pass")
    assert asks_for_keras_version("major = int(tf.__version__[0])")
    assert asks_for_keras_version("tf.version.VERSION")
    assert asks_for_keras_version("from keras import __version__")
    assert asks_for_keras_version("importlib.metadata.version('keras')")


def test_rule_finds_skips_by_version():
    assert not skips_by_keras_version("@pytest.mark.skipif(not has_gpu, reason='')\ndef test(): pass")
    assert not skips_by_keras_version("torch = pytest.importorskip('torch')")
    assert skips_by_keras_version("@pytest.mark.skipif(KERAS_3, reason='')\ndef test(): pass")
    assert skips_by_keras_version("pytest.importorskip('tensorflow_addons')")
    assert skips_by_keras_version("def test():\n    if compat.KERAS_3:\n        pytest.skip('')")
