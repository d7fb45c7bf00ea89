"""The options of commands that read annotations of any format, and what these commands say about them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keras_mrcnn.cli.locations import EXISTING_FOLDER

if TYPE_CHECKING:
    from keras_mrcnn.data.formats import Annotations

CROWD_ANSWERS = ("objects", "regions")
_OPTIONS = (
    click.option(
        "--format",
        "source_format",
        metavar="NAME",
        help="Format of SOURCE: coco, labelme, labelme-xml, via, yolo, masks, voc, cityscapes or cvat.  "
        "[default: recognised by content]",
    ),
    click.option("--images", type=EXISTING_FOLDER, help="Folder with the pictures, where SOURCE does not tell."),
    click.option("--split", metavar="NAME", help="One split of SOURCE, such as train.  [default: all]"),
    click.option(
        "--crowds",
        type=click.Choice(CROWD_ANSWERS),
        help="What masks that CVAT marks as crowds are: objects, or regions of many.  [default: ask]",
    ),
    click.option("--skip-missing", is_flag=True, help="Leave out pictures whose files are missing, and count them."),
)


def source_options(command: Callable) -> Callable:
    """Adds the options of `read_source` to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_source(
    source: Path,
    source_format: str | None,
    images: Path | None,
    split: str | None,
    crowds: str | None,
    skip_missing: bool,
    only_one: bool = False,
) -> dict[str, Annotations]:
    """Reads annotations, and prints what was read, what was left out and what the user should know.

    If it is not clear whether masks are crowd regions, somebody at a terminal is asked.

    Args:
        source: file or folder.
        source_format, images, split, crowds, skip_missing: values of the options.
        only_one: whether several splits are refused.

    Returns:
        The `Annotations` of each split; the name of the only part of an undivided source is "".

    Raises:
        UserError: something cannot be read, or there is nobody to ask.
        UsageError: there are several splits, and only one can be used.
    """
    from keras_mrcnn.data.formats import find_splits

    names = [split] if split is not None else list(find_splits(source, source_format))
    if only_one and len(names) > 1:
        raise click.UsageError(f"{source}: has the splits {', '.join(names)} already; choose one with --split")
    parts: dict[str, Annotations] = {}
    for name in names:
        options: dict[str, Any] = {"images": images, "format": source_format, "split": name or None}
        parts[name], crowds = _read_or_ask(source, crowds, skip_missing=skip_missing, **options)
        _tell(parts[name], source, name)
    return parts


def _read_or_ask(source, crowds, **options):
    """Reads one split; returns its annotations and what crowds are, which was asked if need be."""
    from keras_mrcnn.data.formats import CrowdQuestion, read_annotations

    try:
        return read_annotations(source, crowds=crowds or "ask", **options), crowds
    except CrowdQuestion as question:
        if not _is_terminal():
            raise
        click.echo(question)
    crowds = click.prompt("Are they objects or regions?", type=click.Choice(CROWD_ANSWERS))
    return read_annotations(source, crowds=crowds, **options), crowds


def _is_terminal():
    return sys.stdin.isatty()


def _tell(annotations, source, split):
    """Prints what was read."""
    content = annotations.content
    crowds = sum(bool(item.get("iscrowd")) for item in content["annotations"])
    what = counted(len(content["images"]), len(content["annotations"]) - crowds, crowds)
    click.echo(f"Read {what} from {source}{f', {split}' * bool(split)} ({annotations.format}).")
    tell_remarks(annotations.skipped, annotations.notes)


def tell_remarks(skipped: dict[str, int], notes: Iterable[str]) -> None:
    """Prints on stderr what was left out, and what the user should know."""
    if skipped:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))
        click.echo(f"Left out: {reasons}.", err=True)
    for note in notes:
        click.echo(note, err=True)


def counted(images: int, objects: int, crowds: int) -> str:
    """Returns numbers of images, objects and crowd regions in words.

    Example:
        >>> counted(2, 1, 0), counted(1, 0, 3)
        ('2 images with 1 object', '1 image with 0 objects and 3 crowd regions')
    """
    text = f"{_plural(images, 'image')} with {_plural(objects, 'object')}"
    return f"{text} and {_plural(crowds, 'crowd region')}" if crowds else text


def _plural(count, noun):
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
