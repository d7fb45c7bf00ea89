"""Where the command line finds weights, annotations and images, and how it leaves results."""

from __future__ import annotations

import json
from pathlib import Path

import click

from keras_mrcnn.errors import UserError
from keras_mrcnn.whole_files import written_whole

FOLDER = click.Path(file_okay=False, path_type=Path)
EXISTING_FOLDER = click.Path(file_okay=False, exists=True, path_type=Path)
EXISTING_FILE = click.Path(dir_okay=False, exists=True, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
WEIGHTS = click.Path(exists=True, path_type=Path)
BATCH_SIZE = 2  # where no run says otherwise
# By their files, for help is to come without the second that the import of `config` takes.
PRESET_NAMES = ", ".join(sorted(path.stem for path in (Path(__file__).parents[1] / "presets").glob("*.yaml")))


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
        raise UserError(f"{weights}: has no model.safetensors, so its training is not finished{have}")
    return path


def split_files(folder: Path, split: str) -> tuple[Path, Path]:
    """Annotation file and image folder of a split in a data-set folder; neither need be there."""
    annotations = find_annotations(folder, split) or folder / "annotations" / f"{split}.json"
    return annotations, folder / "images" / split


def find_annotations(folder: Path, split: str) -> Path | None:
    """The annotation file of a split: annotations/SPLIT.json, or COCO's annotations/instances_SPLIT.json."""
    for name in (f"{split}.json", f"instances_{split}.json"):
        if (folder / "annotations" / name).is_file():
            return folder / "annotations" / name
    return None


def run_config(folder: Path):
    """The `Config` of a run folder; None where it is none, such as a weight file."""
    if not (folder / "config.yaml").is_file():
        return None
    from keras_mrcnn.config import load_config

    return load_config(folder / "config.yaml")


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
