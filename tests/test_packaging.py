"""What setup.cfg and the requirements files promise agrees with the code and with each other."""

from __future__ import annotations

import ast
import configparser
import sys
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import keras_mrcnn

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = {
    "requirements.txt": ("3.9", "3.10", "3.11", "3.12", "3.13"),
    "requirements-keras3.txt": ("3.10", "3.11", "3.12", "3.13"),
}
FILES_AND_PYTHONS = [(file_name, python) for file_name, pythons in REQUIREMENTS.items() for python in pythons]
# Where the name that is imported is not the name that is installed.
DISTRIBUTION_OF = {
    "PIL": "pillow",
    "grpc": "grpcio",
    "skimage": "scikit-image",
    "tensorflow_serving": "tensorflow-serving-api",
    "yaml": "pyyaml",
}
# Extras whose packages are no part of the pinned stacks.
NOT_PINNED = {"notebooks", "docs"}


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read_string((ROOT / "setup.cfg").read_text("utf-8"))
    return parser


def requirements(text: str) -> list[Requirement]:
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [Requirement(line) for line in lines if line]


def declared(section: str, name: str) -> list[Requirement]:
    return requirements(setup_cfg()[section][name])


def extras() -> dict[str, list[Requirement]]:
    return {name: requirements(text) for name, text in setup_cfg()["options.extras_require"].items()}


def applies(requirement: Requirement, python: str) -> bool:
    """Whether pip on that Python would install it; only the Python version differs from this machine."""
    environment = {**default_environment(), "python_version": python, "python_full_version": f"{python}.0"}
    return requirement.marker is None or requirement.marker.evaluate(environment)


def pins(file_name: str, python: str) -> dict[str, str]:
    """The pinned version of each package for one Python, by canonical name."""
    found = {}
    for requirement in requirements((ROOT / file_name).read_text("utf-8")):
        if applies(requirement, python):
            name = canonicalize_name(requirement.name)
            assert name not in found, f"{file_name} pins {name} twice for Python {python}"
            found[name] = str(requirement.specifier).removeprefix("==")
    return found


def test_version_is_the_same_in_setup_cfg_and_in_the_package():
    assert setup_cfg()["metadata"]["version"] == keras_mrcnn.__version__


def test_console_script_names_a_function():
    entry = setup_cfg()["options.entry_points"]["console_scripts"].strip()
    command, _, target = (part.strip() for part in entry.partition("="))
    assert (command, target) == ("keras-mrcnn", "keras_mrcnn.cli:main")
    tree = ast.parse((ROOT / "keras_mrcnn" / "cli" / "__init__.py").read_text("utf-8"))
    assert "main" in {getattr(node, "name", None) for node in tree.body}


def test_every_folder_with_code_is_a_package():
    # setuptools leaves out folders without __init__.py, and only an installed copy would show it.
    folders = {path.parent for path in (ROOT / "keras_mrcnn").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_data_files_of_the_package_are_installed():
    patterns = setup_cfg()["options.package_data"]["keras_mrcnn"].split()
    package = ROOT / "keras_mrcnn"
    taken = {path for pattern in patterns for path in package.glob(pattern)}
    others = {path for path in package.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
    assert sorted(others - taken) == []


@pytest.mark.skipif(sys.version_info < (3, 10), reason="Python 3.9 has no list of its standard modules")
def test_every_imported_package_is_declared():
    known = {requirement.name for part in extras().values() for requirement in part}
    known |= {requirement.name for requirement in declared("options", "install_requires")}
    known = {canonicalize_name(name) for name in known}
    missing = {}
    for path in (ROOT / "keras_mrcnn").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for top in {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"keras_mrcnn"}:
                if canonicalize_name(DISTRIBUTION_OF.get(top, top)) not in known:
                    missing.setdefault(top, []).append(path.name)
    assert missing == {}, "declare these in setup.cfg"


@pytest.mark.parametrize("file_name", REQUIREMENTS)
def test_every_line_of_the_requirements_is_an_exact_pin(file_name):
    for requirement in requirements((ROOT / file_name).read_text("utf-8")):
        operators = [specifier.operator for specifier in requirement.specifier]
        assert operators == ["=="] and "*" not in str(requirement.specifier), str(requirement)


@pytest.mark.parametrize(("file_name", "python"), FILES_AND_PYTHONS)
def test_pins_lie_inside_the_ranges(file_name, python):
    pinned = pins(file_name, python)
    ranges = declared("options", "install_requires")
    is_addons = file_name == "requirements.txt" and python in ("3.9", "3.10", "3.11")
    for extra, wanted in extras().items():
        if extra not in NOT_PINNED and (is_addons or extra != "addons"):
            ranges += wanted
    for requirement in ranges:
        if applies(requirement, python):
            version = pinned.get(canonicalize_name(requirement.name))
            assert version is not None, f"{file_name} does not pin {requirement.name} for Python {python}"
            assert requirement.specifier.contains(version), f"{file_name} has {version}, setup.cfg {requirement}"


def test_requirements_switch_to_keras_3_at_python_3_12():
    assert pins("requirements.txt", "3.11")["tensorflow"].startswith("2.15.")
    assert pins("requirements.txt", "3.11")["tensorflow-addons"] == "0.23.0"
    for python in ("3.12", "3.13"):
        assert pins("requirements.txt", python) == pins("requirements-keras3.txt", python)
    assert pins("requirements-keras3.txt", "3.11")["keras"].startswith("3.")


def test_requirements_leave_the_registry_to_the_user():
    for file_name in ("setup.cfg", "pyproject.toml", *REQUIREMENTS):
        text = (ROOT / file_name).read_text("utf-8")
        assert [word for word in ("index-url", "find-links", "trusted-host", "://") if word in text] == []
