"""Where the command line finds weights, annotations and images, and how it leaves results."""

from __future__ import annotations

import json
from pathlib import Path

import click

from keras_mrcnn.whole_files import written_whole

FOLDER = click.Path(file_okay=False, path_type=Path)
EXISTING_FOLDER = click.Path(file_okay=False, exists=True, path_type=Path)
EXISTING_FILE = click.Path(dir_okay=False, exists=True, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
WEIGHTS = click.Path(exists=True, path_type=Path)


def load_model(weights: Path):
    """The `MaskRCNN` of a weight file, or of the run folder that training wrote."""
    from keras_mrcnn.weights import load_weights

    return load_weights(None, weights_file(weights))


def weights_file(weights: Path) -> Path:
    """The weight file that is meant: the one named, or the finished model of a run folder."""
    if not weights.is_dir():
        return weights
    path = weights / "model.safetensors"
    if not path.is_file():
        others = sorted(other.name for other in weights.glob("*.safetensors") if other.name != "checkpoint.safetensors")
        have = f"; it has {', '.join(others)}, which can be named instead" if others else ""
        raise ValueError(f"{weights}: has no model.safetensors, so its training is not finished{have}")
    return path


def split_files(folder: Path, split: str) -> tuple[Path, Path]:
    """Annotation file and image folder of a split in a data-set folder: annotations/SPLIT.json and images/SPLIT."""
    return folder / "annotations" / f"{split}.json", folder / "images" / split


def images_of(annotations: Path) -> Path:
    """The folder with the images of an annotation file, by its name.

    `annotations/train.json` and `annotations/instances_train.json` both belong to `images/train`.
    """
    folder = annotations.resolve().parent.parent / "images"
    for name in (annotations.stem, annotations.stem.rpartition("_")[2]):
        if (folder / name).is_dir():
            return folder / name
    raise click.UsageError(f"{annotations}: there is no {folder / annotations.stem}; name the folder with --images")


def write_results(path: Path, results) -> None:
    """Writes COCO results, or their list of images, as compact JSON; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(results), encoding="utf-8")
