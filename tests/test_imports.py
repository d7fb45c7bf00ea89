"""The import rules of the package, read from the source: which part stands on which, and who may ask for Keras."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "keras_mrcnn"

# Data flows one way: a part imports from its own floor and from those below it, never from a higher one.
FLOORS = {
    "base": 1,
    "ops": 2, "config": 2, "pretrained": 2, "compat": 2, "addons": 2,
    "layers": 3, "models": 3, "targets": 3, "losses": 3, "data": 3, "scenes": 3, "weights": 3,
    "mask_rcnn": 4,
    "export": 5, "evaluation": 5, "visualize": 5, "inspection": 5,
    "training": 6, "report": 6, "video": 6, "batch": 6, "predict": 6, "pre_annotation": 6, "suspects": 6,
    "cli": 7, "__init__": 7, "__main__": 7,
}  # fmt: skip
# What needs no higher floor must not use one: clients of an exported model import the lowest alone, and the parts of
# the network know neither the data nor the settings.
STANDS_ON = {
    "serving": {"base"},
    "ops": {"base"},
    "layers": {"base", "ops", "compat"},
    "targets": {"base", "ops", "layers"},
    "losses": {"base", "ops"},
    "scenes": {"base"},
}
# With any of these, tf.data waits for Python, one image at a time.
CALLS_PYTHON = {"numpy_function", "py_function", "py_func", "eager_py_func", "from_generator", "_GeneratorDataset"}
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
    here = f"keras_mrcnn.{module}" if is_package else f"keras_mrcnn.{module}".rpartition(".")[0]
    names = {name for name in imported_names(ast.parse(source), here) if name.split(".")[0] == "keras_mrcnn"}
    return sorted(name for name in names if not may_import(part, name.partition(".")[2].partition(".")[0]))


def may_import(part: str, other: str) -> bool:
    """Whether a part may import from another; an import of the package itself reaches for its public names."""
    if other in (part, "__version__"):
        return True
    if part in STANDS_ON:
        return other in STANDS_ON[part]
    return FLOORS.get(other, 1 if other in STANDS_ON else FLOORS["__init__"]) <= FLOORS[part]


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


def python_in_pipelines(source: str) -> list[str]:
    """The functions in a source by which TensorFlow calls Python back, by the last part of their names."""
    tree = ast.parse(source)
    used = {dotted(node).rpartition(".")[2] for node in ast.walk(tree)}
    used |= {name.rpartition(".")[2] for name in imported_names(tree)}
    return sorted(used & CALLS_PYTHON)


MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = sorted([*MODULES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")])


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_module_imports_from_no_higher_floor(path):
    module = module_name(path)
    assert module.split(".")[0] in {*FLOORS, *STANDS_ON}, f"{relative(path)} is on no floor"
    imports = forbidden_imports(path.read_text("utf-8"), module, path.name == "__init__.py")
    assert imports == [], f"{relative(path)} must not import {', '.join(imports)}"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_source_keeps_the_rules_of_two_stacks(path):
    source = path.read_text("utf-8")
    names = {name.split(".")[0] for name in imported_names(ast.parse(source))}
    assert forbidden_keras_names(source) == []
    assert path == PACKAGE / "compat.py" or not asks_for_keras_version(source), "only compat.py asks for a version"
    assert path == PACKAGE / "addons.py" or "tensorflow_addons" not in names, "only addons.py imports tensorflow-addons"
    assert not names & {"notebooks"}, "nothing imports the notebooks"
    assert path.is_relative_to(ROOT / "tests") or "scripts" not in names, "nothing imports the scripts"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_tensorflow_calls_no_python(path):
    assert python_in_pipelines(path.read_text("utf-8")) == []


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=relative)
def test_tests_run_on_both_stacks(path):
    assert path.name in MAY_SKIP_BY_KERAS_VERSION or not skips_by_keras_version(path.read_text("utf-8"))


def test_lowest_floor_and_clients_need_no_tensorflow():
    paths = [path for path in MODULES if module_name(path).split(".")[0] in ("base", "serving")]
    assert PACKAGE / "base" / "records.py" in paths
    for path in paths:
        names = {name.split(".")[0] for name in imported_names(ast.parse(path.read_text("utf-8")))}
        assert not names & {"tensorflow", "keras", "tensorflow_addons"}, relative(path)


def test_ops_need_no_keras():
    for path in (PACKAGE / "ops").glob("*.py"):
        assert "keras" not in {name.split(".")[0] for name in imported_names(ast.parse(path.read_text("utf-8")))}


def test_compat_is_short():
    assert len((PACKAGE / "compat.py").read_text("utf-8").splitlines()) <= 100


@pytest.mark.parametrize(
    ("source", "module", "expected"),
    [
        ("import numpy\nfrom keras_mrcnn.ops import boxes", "data.coco", []),
        ("from keras_mrcnn.training import stages", "data.coco", ["keras_mrcnn.training.stages"]),
        ("from ..models.fpn import FPN", "layers.anchors", ["keras_mrcnn.models.fpn.FPN"]),
        ("from .. import compat", "layers.anchors", []),
        ("from . import detector", "mask_rcnn.model", []),
        ("def f():\n    import keras_mrcnn.cli", "ops.boxes", ["keras_mrcnn.cli"]),
        ("from keras_mrcnn import MaskRCNN", "training.stages", ["keras_mrcnn.MaskRCNN"]),
        ("from keras_mrcnn.data import pipeline", "training.trainer", []),
        ("from keras_mrcnn import mask_rcnn", "weights.names", ["keras_mrcnn.mask_rcnn"]),
        ("from keras_mrcnn.base import records", "serving.rest", []),
        ("from keras_mrcnn.ops import images", "serving.rest", ["keras_mrcnn.ops.images"]),
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


def test_rule_finds_calls_of_python():
    assert python_in_pipelines("tf.data.Dataset.from_tensors(1).map(f)\nnp.random.default_rng(1)") == []
    assert python_in_pipelines("tf.numpy_function(f, [x], tf.int32)") == ["numpy_function"]
    assert python_in_pipelines("from tensorflow import py_function as call") == ["py_function"]
    assert python_in_pipelines("make = tf.data.Dataset.from_generator") == ["from_generator"]


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
