"""Finds weights, annotations and images for the command line, and writes its results."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keras_mrcnn.base.atomic_files import atomic_write

if TYPE_CHECKING:
    from keras_mrcnn.config import Config
    from keras_mrcnn.mask_rcnn.model import MaskRCNN


class _Weights(click.Path):
    """The type of WEIGHTS: a weight file, a run folder or the name of published weights, given as a `Path`."""

    def convert(self, value, param, ctx):
        if not os.path.exists(value):
            from keras_mrcnn import pretrained

            if pretrained.find(value) is None:
                self.fail(pretrained.unknown(value), param, ctx)
        return super().convert(value, param, ctx)


FOLDER = click.Path(file_okay=False, path_type=Path)
EXISTING_FOLDER = click.Path(file_okay=False, exists=True, path_type=Path)
EXISTING_FILE = click.Path(dir_okay=False, exists=True, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
WEIGHTS = _Weights(path_type=Path)
# From the file names, because importing `config` would slow down --help by a second.
PRESET_NAMES = ", ".join(sorted(path.stem for path in (Path(__file__).parents[1] / "presets").glob("*.yaml")))


def load_model(weights: Path) -> MaskRCNN:
    """Loads the `MaskRCNN` of a weight file, a finished run folder or published weights."""
    from keras_mrcnn.mask_rcnn.model import MaskRCNN

    return MaskRCNN.from_preset(weights)


def weights_file(weights: Path) -> Path:
    """Returns the weight file that `weights` names; for a run folder, that of its finished model."""
    from keras_mrcnn.mask_rcnn.presets import finished_model

    return finished_model(weights)


def split_files(folder: Path, split: str) -> tuple[Path, Path | None]:
    """Returns the annotation file and the image folder of a split in a data-set folder; they need not exist.

    Of a split of prepared data, returns its folder and None.
    """
    if (folder / split / "manifest.json").is_file():
        return folder / split, None
    annotations = find_annotations(folder, split) or folder / "annotations" / f"{split}.json"
    return annotations, folder / "images" / split


def find_annotations(folder: Path, split: str) -> Path | None:
    """Finds the annotation file of a split: annotations/SPLIT.json, or COCO's annotations/instances_SPLIT.json.

    Returns:
        its path, or None if there is neither.
    """
    for name in (f"{split}.json", f"instances_{split}.json"):
        if (folder / "annotations" / name).is_file():
            return folder / "annotations" / name
    return None


def run_config(folder: Path) -> Config | None:
    """Reads the `Config` of a run folder; returns None for anything else, such as a weight file."""
    if not (folder / "config.yaml").is_file():
        return None
    from keras_mrcnn.config import load_config

    return load_config(folder / "config.yaml")


def images_of(annotations: Path) -> Path:
    """Finds the folder with the images of an annotation file by the name of the file.

    `annotations/train.json` and `annotations/instances_train.json` both belong to `images/train`.

    Raises:
        UsageError: there is no such folder.
    """
    folder = annotations.resolve().parent.parent / "images"
    for name in (annotations.stem, annotations.stem.rpartition("_")[2]):
        if (folder / name).is_dir():
            return folder / name
    raise click.UsageError(f"{annotations}: there is no {folder / annotations.stem}; name the folder with --images")


def write_results(path: Path, results: Any) -> None:
    """Writes COCO results, or the list of their images, as compact JSON; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(results), encoding="utf-8")
