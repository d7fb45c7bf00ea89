"""`keras-mrcnn train`: trains the three stages, one after the other."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import click

from keras_mrcnn.cli.locations import (
    EXISTING_FILE,
    EXISTING_FOLDER,
    FOLDER,
    PRESET_NAMES,
    WEIGHTS,
    split_files,
    weights_file,
)
from keras_mrcnn.cli.tensorflow_start import import_tensorflow


@click.command()
@click.option("--config", type=EXISTING_FILE, help="Settings as YAML.")
@click.option("--preset", metavar="NAME", help=f"Settings that come with the package: {PRESET_NAMES}.")
@click.option(
    "--data",
    type=EXISTING_FOLDER,
    help="Folder with annotations/train.json, images/train, annotations/val.json and images/val (the annotations may "
    "have COCO's names, instances_train.json and instances_val.json), or one that `data prepare` has written.",
)
@click.option("--run", type=FOLDER, required=True, help="Folder for all that the training writes.")
@click.option(
    "--weights",
    type=WEIGHTS,
    help="Weight file, run folder, or name that `weights list` prints, to start the whole model from; its classes may "
    "be others than those of the data.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    help="Time for the whole training; lengthens or shortens the stages so that it ends within it.",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change one setting; can be repeated.")
@click.option("--skip-bad", is_flag=True, help="Drop and count what the data check finds, instead of stopping.")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint, with the settings of the run.")
@click.option("--seed", type=click.IntRange(0), help="Of the first weights and the order of the images.")
def train(
    config: Path | None,
    preset: str | None,
    data: Path | None,
    run: Path,
    weights: Path | None,
    minutes: float | None,
    settings: tuple[str, ...],
    skip_bad: bool,
    resume: bool,
    seed: int | None,
) -> None:
    """Train RPN, box head and mask head, each with all before it frozen.

    Settings come from --config or --preset, or with --resume from the run; --set changes single ones, such as
    --set train.rpn.epochs=3.
    """
    source = _source(config, preset, run, resume)
    overrides = [*_data_settings(data), *settings]
    if weights is not None:
        if resume:
            raise click.UsageError("--resume goes on from the checkpoint of the run; leave --weights out")
        overrides.append(f"train.weights={json.dumps(str(weights_file(weights)))}")
    if minutes is not None:
        if resume:
            raise click.UsageError("--resume keeps to the plan of the run; leave --minutes out")
        overrides.append(f"train.minutes={minutes}")
    if skip_bad:
        overrides.append("data.skip_bad=true")
    if seed is not None:
        overrides.append(f"train.seed={seed}")

    from keras_mrcnn.config import PRESETS, load_config

    if preset is not None and preset not in PRESETS:
        raise click.BadParameter(f"there is no {preset}; choose one of {', '.join(PRESETS)}", param_hint="--preset")
    resolved = load_config(source, tuple(overrides))
    if not resolved.data.train_annotations:
        raise click.UsageError("where are the data? Name their folder with --data, or set data.train_annotations "
                               "and data.train_images")

    import_tensorflow()
    from keras_mrcnn.training.trainer import StagedTrainer

    try:
        # Keras's bar uses control codes, which fill a log file; 2 prints a line for each epoch.
        trainer = StagedTrainer(resolved, run, resume=resume, verbose=1 if sys.stdout.isatty() else 2)
        trainer.fit()
    except KeyboardInterrupt:
        if sys.stdout.isatty():
            click.echo()  # because the bar has not ended its line
        raise KeyboardInterrupt(f"interrupted{_how_to_go_on(run)}") from None
    if trainer.workers.is_chief:
        click.echo(f"Wrote the trained model to {run / 'model.safetensors'}.")


def _how_to_go_on(run):
    """Returns a hint with the command that resumes a run, or "" if there is no checkpoint."""
    if not (run / "checkpoint.safetensors").is_file():
        return ""
    return f"; go on from the last epoch with: keras-mrcnn train --resume --run {shlex.quote(str(run))}"


def _source(config, preset, run, resume):
    """Returns where to read the settings from: the name of a preset, or a file."""
    if resume:
        if config or preset:
            raise click.UsageError("--resume takes the settings of the run; leave --config and --preset out, and "
                                   "change single settings with --set")
        if not (run / "config.yaml").is_file():
            raise click.UsageError(f"{run}: holds no run to resume; train without --resume")
        return run / "config.yaml"
    if (config is None) == (preset is None):
        raise click.UsageError("give either --config FILE or --preset NAME")
    return config or preset


def _data_settings(folder):
    """Returns the settings that --data stands for, as JSON strings, which are YAML whatever the path holds."""
    if folder is None:
        return []
    settings = {}
    for split in ("train", "val"):
        annotations, images = split_files(folder, split)
        if annotations.exists():
            settings[f"data.{split}_annotations"] = str(annotations)
            settings[f"data.{split}_images"] = None if images is None else str(images)
        elif split == "train":
            raise click.UsageError(f"{folder}: has no annotations/train.json; prepare data of another form with "
                                   f"`keras-mrcnn data prepare {folder} OUT` and name OUT, or name the files with "
                                   "--set data.train_annotations=FILE --set data.train_images=FOLDER")
        else:
            click.echo(f"{folder} has no annotations/val.json, so the stages are not scored.", err=True)
    return [f"{key}={json.dumps(value)}" for key, value in settings.items()]
