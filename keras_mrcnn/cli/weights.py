"""`keras-mrcnn weights`: lists published weights, converts weight files and describes them."""

from __future__ import annotations

import re
from pathlib import Path

import click

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.tables import text_table
from keras_mrcnn.cli.locations import FILE, WEIGHTS, weights_file
from keras_mrcnn.cli.tensorflow_start import import_tensorflow

SUFFIXES = (".safetensors", ".pth", ".pt")
# The parts of a model and the prefixes of their weight names; all other weights of a classifier are its backbone's.
PARTS = {"backbone": "backbone.body.", "FPN": "backbone.fpn.", "RPN": "rpn.", "box head": "roi_heads.box_",
         "mask head": "roi_heads.mask_", "classifier": "fc."}  # fmt: skip
FIRST_NAMES = 5
LIST_TITLES = ("name", "what", "classes", "score", "MB", "licence", "downloaded")


@click.group()
def weights() -> None:
    """List published weights; convert weight files between our format and torch's, or look into them."""


@weights.command("list")
def list_published() -> None:
    """List the published weights, whose names stand for files wherever a command takes WEIGHTS.

    They are downloaded when they are first used, into $KERAS_HOME/models or ~/.keras/models. Backbones are for the
    setting model.backbone.weights.
    """
    from keras_mrcnn.pretrained import PRETRAINED, TERMS

    rows = [LIST_TITLES, *(_list_row(published) for published in PRETRAINED.values())]
    click.echo(text_table(rows, left_columns=len(LIST_TITLES)))
    click.echo("\nScores, the publishers': box AP and mask AP in percent; of backbones the top-1 accuracy on ImageNet.")
    for licence, terms in TERMS.items():
        click.echo(f"{licence}: {terms}")


def _list_row(published):
    scores = [published.top1] if published.kind == "backbone" else [published.box_ap, published.mask_ap]
    return (
        published.name,
        published.description,
        published.classes,
        ", ".join(f"{score:.1f}" for score in scores),
        f"{published.megabytes:.1f}",
        published.licence,
        "yes" if published.path else "no",
    )


def _class_names(ctx, param, value):
    """Reads class names from a file with one a line, or from a list with commas."""
    if value is None:
        return None
    path = Path(value)
    if not path.is_file() and "," not in value and path.suffix:
        raise click.BadParameter(f"{value}: no such file")
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else value.split(",")
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{value}: not UTF-8 text ({error.reason}); save it again as UTF-8") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise click.BadParameter(f"{value!r}: has no names; one a line in a file, or a list with commas")
    return names


@weights.command()
@click.argument("source", metavar="IN", type=WEIGHTS)
@click.argument("target", metavar="OUT", type=FILE)
@click.option(
    "--class-names",
    metavar="FILE|NAMES",
    callback=_class_names,
    help="Names of the classes of a state dict, without the background: a file with one a line, or a list with commas. "
    "By default those of COCO where there are 91 outputs.",
)
@click.option(
    "--norm-epsilon",
    type=click.FloatRange(0, 1),
    help="Of a state dict's batch norms; by default 0 for torchvision's published COCO v1 file, else 1e-5.",
)
@click.option("--half", is_flag=True, help="Write kernels as float16: half the size, three digits.")
def convert(
    source: Path, target: Path, class_names: tuple[str, ...] | None, norm_epsilon: float | None, half: bool
) -> None:
    """Write the weights of IN as OUT, in the format that OUT's ending names.

    IN is a weight file of ours or of torchvision, the folder of a run, or a name that `weights list` prints. OUT is
    *.safetensors, which holds the config too, or *.pth or *.pt, a state dict for torch. Both have torchvision's names.
    """
    source = weights_file(source)
    if target.suffix not in SUFFIXES:
        raise click.UsageError(f"{target}: its ending says in which format to write; use {', '.join(SUFFIXES)}")
    if target.exists() and source.exists() and target.samefile(source):
        raise click.UsageError(f"{target}: is the file to read from; name another one to write")

    import_tensorflow()
    from keras_mrcnn.mask_rcnn.conversion import convert_weights
    from keras_mrcnn.weights import read_weights

    options = {"class_names": class_names, "norm_epsilon": norm_epsilon}
    config = convert_weights(source, target, **options, half=half)
    numbers = sum(count for _, _, count, _ in _parts(read_weights(source, **options)))
    click.echo(f"Wrote {target}: {_in_words(config)}, {len(config.class_names)} classes, {numbers:,} parameters.")


@weights.command("inspect")
@click.argument("file", type=WEIGHTS)
@click.option("--yaml", "as_yaml", is_flag=True, help="Print the model settings instead, for a training config.")
def inspect_file(file: Path, as_yaml: bool) -> None:
    """Say what FILE holds, and which model of torchvision takes it.

    FILE is a weight file, the folder of a run, or a name that `weights list` prints.
    """
    import_tensorflow()
    from keras_mrcnn.weights.model_files import read_weights

    content = read_weights(weights_file(file))
    if as_yaml:
        import yaml

        click.echo(yaml.safe_dump({"model": _settings(content)}, sort_keys=False), nl=False)
        return
    click.echo(f"{content.path}: {_kind(content)}")
    click.echo(text_table(list(_summary(content).items()), left_columns=2))
    click.echo("\n" + _format_parts(_parts(content)))
    if content.config is not None:
        click.echo("\n" + _in_torchvision(content.config))


def _kind(content):
    """Describes what kind of file it is."""
    from keras_mrcnn.cli.torchvision_code import function_name

    if content.config is None:
        return f"torchvision's ImageNet classifier resnet{_depth(content)}, for model.backbone.weights"
    alike = function_name(content.config)
    shape = f"of the shape of torchvision's {alike}" if alike else "of none of torchvision's ready shapes"
    return f"{'our weights and config' if content.kind == 'keras_mrcnn' else 'a state dict'}, {shape}"


def _summary(content):
    """Returns what the file says about the network, by name."""
    if content.config is None:
        outputs = content.tensors["fc.weight"].shape[0] if "fc.weight" in content.tensors else "none, for fc is missing"
        return {"backbone": f"ResNet-{_depth(content)}", "classes": outputs, "counters": _counters(content)}
    config = content.config
    names = ", ".join([*config.class_names[:FIRST_NAMES], "..."][: len(config.class_names)])
    return {
        "backbone": _body(config) + _stride(config),
        "norms": ", ".join(f"{part} {norm or 'none'}" for part, norm in _norms(config).items()),
        "norm epsilon": f"{config.norm_epsilon:g}",
        "classes": f"{len(config.class_names)}: {names}",
        "counters": _counters(content),
    }


def _counters(content):
    return f"{len(content.counters)} of batches (num_batches_tracked)" if content.counters else "none"


def _settings(content):
    """Returns the model's settings as plain values, without the classes, which training takes from the data."""
    if content.config is None:
        return {"backbone": {"depth": _depth(content), "stride_in": "3x3", "weights": str(content.path)}}
    settings = content.config.model_dump(mode="json", exclude={"class_names", "category_ids"})
    settings["backbone"].pop("weights", None)  # this file replaces the one that its training began with
    return settings


def _parts(content):
    """Returns rows (part, tensors, parameters, megabytes) for the parts of the file.

    Parameters are counted as torch does: without statistics and without frozen batch norms.
    """
    rows = {part: [part, 0, 0, 0.0] for part in PARTS}
    norms = {} if content.config is None else _norms(content.config)
    for name, value in content.tensors.items():
        part = next((part for part, beginning in PARTS.items() if name.startswith(beginning)), "backbone")
        layer, last = name.rpartition(".")[0], re.split("[./]", name)[-1]
        statistics = (f"{layer}.running_var", f"{name.rpartition('/')[0]}/moving_variance")
        trained = last in ("weight", "bias", "gamma", "beta") and norms.get(part) != "frozen_bn"
        is_parameter = trained or not any(statistic in content.tensors for statistic in statistics)
        rows[part][1] += 1
        rows[part][2] += value.size * is_parameter
        rows[part][3] += value.nbytes / 1e6
    return [row for row in rows.values() if row[1]]


def _format_parts(rows):
    """Formats the rows of `_parts` as text, with their sum last."""
    total = ["all", *(sum(column) for column in list(zip(*rows))[1:])]
    lines = [(*counts, f"{size:.1f}") for *counts, size in [*rows, total]]
    return text_table([("part", "tensors", "parameters", "MB"), *lines], min_width=8)


def _in_torchvision(config):
    """Returns the code that makes torchvision's model, or why there is none."""
    from keras_mrcnn.cli.torchvision_code import code_lines, lacking_settings

    lacking = lacking_settings(config)
    if lacking:
        return f"torchvision has no ready model with {', '.join(lacking)}."
    return "\n".join(["In torchvision:", *code_lines(config)])


def _in_words(config):
    norms = dict.fromkeys(norm for norm in _norms(config).values() if norm)
    return f"Mask R-CNN with {_body(config)} ({', '.join(norms)}, epsilon {config.norm_epsilon:g})"


def _body(config):
    return f"{config.backbone.title} and {config.neck.kind.upper()}"


def _stride(config):
    """Returns where a ResNet has its stride, which its weights do not tell; "" for other backbones."""
    return f", stride in the {config.backbone.stride_in} convolution" if hasattr(config.backbone, "stride_in") else ""


def _norms(config):
    """Returns the kind of norm, or None, by part."""
    norms = config.backbone.norm, config.neck.norm, config.box_head.norm, config.mask_head.norm
    return dict(zip(("backbone", "FPN", "box head", "mask head"), norms))


def _depth(content):
    """Returns the depth of a classifier."""
    from keras_mrcnn.weights.architecture import ArchitectureError, resnet_depth

    try:
        return resnet_depth({name: value.shape for name, value in content.tensors.items()})
    except ArchitectureError as error:
        raise UserError(f"{content.path}: {error}") from None
