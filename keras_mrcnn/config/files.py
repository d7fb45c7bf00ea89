"""Reads settings from presets and YAML files, applies overrides, checks them, and writes them as YAML."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Union

import yaml
from pydantic import ValidationError

from keras_mrcnn.base.atomic_files import atomic_write
from keras_mrcnn.base.errors import UserError
from keras_mrcnn.config.model import location
from keras_mrcnn.config.run import Config

PRESETS = ("scenes-small", "photographs", "coco-r50-fpn", "coco-r101-fpn", "vehicle-person-animal")


class ConfigError(UserError):
    """A settings file or override that cannot be used; the message names the key."""


def load_config(source: Union[str, os.PathLike], overrides: tuple[str, ...] = ()) -> Config:
    """Reads a preset or a YAML file and applies `key=value` overrides.

    Args:
        source: name of a preset (see `PRESETS`) or path of a YAML file.
        overrides: strings such as `train.rpn.epochs=3`; values are YAML.

    Returns:
        The validated `Config`.

    Raises:
        ConfigError: for an unknown preset or file, an unknown key or an impossible value, each named.

    Example:
        >>> load_config("scenes-small", ("train.seed=7",)).train.seed
        7
    """
    tree = _read_yaml(source)
    keys = [_apply_override(tree, override) for override in overrides]
    return _validated(tree, str(source), keys)


def make_config(tree: Any, source: str = "config") -> Config:
    """Makes a `Config` of a nested dict.

    Args:
        tree: dict of settings, as YAML gives it.
        source: name of the dict's origin, for messages.

    Raises:
        ConfigError: some settings cannot be used; the message names `source` and each of their keys.
    """
    return _validated(tree, source)


def save_config(config: Config, path: Union[str, os.PathLike]) -> None:
    """Writes the settings as YAML, from which `load_config` reads an equal `Config`."""
    with atomic_write(path) as temporary:
        temporary.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8")


def _read_yaml(source: Union[str, os.PathLike]) -> dict[str, Any]:
    if str(source) in PRESETS:
        text = resources.files("keras_mrcnn").joinpath("presets", f"{source}.yaml").read_text(encoding="utf-8")
    elif Path(source).is_file():
        text = _read_text(source)
    else:
        raise ConfigError(f"{source}: no such file and no preset of that name; presets are {', '.join(PRESETS)}")
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    if tree is not None and not isinstance(tree, dict):
        raise ConfigError(f"{source}: must hold keys and values, not a {type(tree).__name__}")
    return tree or {}


def _read_text(source: Union[str, os.PathLike]) -> str:
    try:
        return Path(source).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: not UTF-8 text ({error.reason}); save it again as UTF-8") from None


def _validated(tree: Any, source: str, set_keys: Sequence[str] = ()) -> Config:
    """Does the work of `make_config`; messages about keys that overrides have set name --set instead of the source."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        problems = error.errors()
    sentences = {"--set": [], source: []}
    for problem in problems:
        sentences["--set" if _is_of(_key(problem), set_keys) else source].append(_describe(problem))
    raise ConfigError("; ".join(f"{origin}: {'; '.join(faults)}" for origin, faults in sentences.items() if faults))


def _is_of(key: str, set_keys: Sequence[str]) -> bool:
    """Returns whether a key has been set, or something in its group, or a value that it is part of."""
    return any(f"{key}.".startswith(f"{name}.") or name.startswith(f"{key}.") for name in set_keys)


def _apply_override(tree: dict[str, Any], override: str) -> str:
    """Sets one value in the tree and returns its key."""
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {override}: write it as key=value, for example train.rpn.epochs=3")
    *parents, leaf = key.strip().split(".")
    for parent in parents:
        group = tree.get(parent, {})
        if not isinstance(group, dict):
            raise ConfigError(f"--set {override}: {parent} is a value, not a group of settings")
        # A copy, since groups with one YAML anchor are one object.
        tree[parent] = dict(group)
        tree = tree[parent]
    try:
        tree[leaf] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"--set {override}: {value!r} is not a YAML value") from None
    return key.strip()


def _key(problem: Mapping[str, Any]) -> str:
    return ".".join(location(problem)) or "settings"


def _describe(problem: Mapping[str, Any]) -> str:
    if problem["type"] == "extra_forbidden":
        return f"unknown key {_key(problem)}{_suggestion(location(problem))}"
    return f"{_key(problem)}: {problem['msg']} (got {problem['input']!r})"


def _suggestion(keys: tuple[str, ...]) -> str:
    """Returns a question that suggests the key of the same group whose spelling is closest to an unknown one."""
    *parents, leaf = keys
    group = Config().model_dump()
    for parent in parents:
        group = group[parent]
    nearest = difflib.get_close_matches(str(leaf), list(group), n=1)
    return f", did you mean {'.'.join([*parents, *nearest])}?" if nearest else ""
