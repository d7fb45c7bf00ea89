"""Finds the objects in the pictures of an input and writes them in parts.

Threads decode the next pictures and make rows of the last ones while the network runs.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import platform
import threading
from collections import deque
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, Optional, TypeVar, Union

import numpy as np

from keras_mrcnn import __version__
from keras_mrcnn.base.background import in_background
from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.image_files import ImageError, read_image
from keras_mrcnn.base.records import Detections
from keras_mrcnn.batch.inputs import Entry, Input, Listing, as_utf8, part_digest
from keras_mrcnn.batch.parts import FORMAT, VERSION, Counts, PartSettings, PartsFolder, Shard
from keras_mrcnn.batch.rows import rows_of
from keras_mrcnn.batch.runtimes import PathLike, Runtime, Source, find_source, open_runtime

AHEAD = 4  # pictures that are decoded before the network needs them, and that wait behind it for their rows
MOST_THREADS = 4
PACKAGES = {"keras": ("tensorflow", "keras"), "savedmodel": ("tensorflow",), "onnx": ("onnxruntime",)}

DEFAULTS, ALL_PARTS = PartSettings(), Shard()

Progress = Callable[[int, int], None]
Item = TypeVar("Item")
Result = TypeVar("Result")


class Decoded(NamedTuple):
    """A picture of a part with its pixels uint8 [H, W, C], or with the reason why it has none."""

    part: int
    entry: Entry
    pixels: Union[np.ndarray, ImageError]


class Outcome(NamedTuple):
    """What a run has come to.

    Args:
        counts: of the parts of the shard, those of earlier runs included.
        is_complete: whether the parts of all shards are there.
        errors: file with the pictures that cannot be read, which is there if the run is complete.
    """

    counts: Counts
    is_complete: bool
    errors: Path


def predict_parts(
    weights: PathLike,
    pictures: Input,
    out: PathLike,
    settings: PartSettings = DEFAULTS,
    *,
    runtime: Optional[str] = None,
    shard: Shard = ALL_PARTS,
    resume: bool = False,
    strict: bool = False,
    progress: Optional[Progress] = None,
) -> Outcome:
    """Finds the objects in any number of pictures, and writes a folder of parts; `parts` describes it.

    Args:
        weights: weight file, run folder or published name; folder of a SavedModel; or ONNX file.
        pictures: what `open_input` returns.
        out: the folder.
        settings: what decides about the rows.
        runtime: see `find_source`.
        shard: the parts to write. Processes with the same arguments and other shards may use the folder at once.
        resume: whether `out` may hold parts of an interrupted run, which are kept.
        strict: whether to stop at the first picture that cannot be read.
        progress: function to call with the pictures done, skipped parts included, and all pictures of the shard.

    Returns:
        `Outcome`.

    Raises:
        ImageError: a picture cannot be read, and `strict` is on.
        UserError: `out` holds results of other settings, weights or pictures; or something cannot be read.
    """
    source = find_source(weights, runtime)
    listing = pictures.listing(settings.part_size)
    folder = PartsFolder(Path(out), settings.format, len(listing.parts))
    manifest = _manifest(source, weights, pictures, listing, settings)
    is_begun = folder.check(manifest, resume, shard)
    own = [number for number in range(folder.num_parts) if number in shard]
    missing = {number for number in own if not folder.is_whole(number)}
    if missing:
        model = open_runtime(source)
        if not is_begun:
            folder.begin({**manifest, **_description(model, source.runtime, settings.format)})
        ticks = _ticks(progress, own, missing, settings.part_size, listing.pictures)
        entries = _entries(pictures, listing, settings.part_size, missing)
        _write_parts(folder, model, entries, settings, strict, ticks)
    return Outcome(folder.counts(shard), folder.finish(), folder.errors)


def _ticks(
    progress: Optional[Progress], own: Sequence[int], missing: Container[int], part_size: int, pictures: int
) -> Callable[[], None]:
    """Returns a function to call after each picture, which calls `progress`."""
    sizes = {number: min(part_size, pictures - number * part_size) for number in own}
    total, done = sum(sizes.values()), itertools.count(sum(sizes[number] for number in own if number not in missing))

    def tick() -> None:
        if progress is not None:
            progress(next(done), total)

    tick()  # for the parts that are there already
    return tick


def _write_parts(
    folder: PartsFolder,
    model: Runtime,
    entries: Iterable[tuple[int, Entry]],
    settings: PartSettings,
    strict: bool,
    tick: Callable[[], None],
) -> None:
    """Writes the parts whose pictures are given, in order."""
    threads = min(os.cpu_count() or 1, MOST_THREADS)
    background = in_background(_decoded(entries, model.channels, threads), 1, threading.Event())
    with closing(background) as decoded, ThreadPoolExecutor(threads) as pool:
        for number, items in itertools.groupby(decoded, key=lambda item: item.part):
            with folder.writer(number) as writer:
                detected = _detected(items, model, settings.batch_size)
                for entry, rows in _ahead(pool, functools.partial(_rows, min_score=settings.min_score), detected):
                    if not isinstance(rows, ImageError):
                        writer.add(rows)
                    elif strict:
                        raise rows
                    else:
                        writer.add_error(entry.name, entry.image_id, as_utf8(str(rows)))
                    tick()


def _rows(item: tuple[Entry, Union[Detections, ImageError]], min_score: float) -> tuple[Entry, Union[list, ImageError]]:
    """Returns a picture with its rows, or with the reason why it has none."""
    entry, detections = item
    if isinstance(detections, ImageError):
        return item
    return entry, rows_of(entry.name, entry.image_id, detections.above(min_score))


def _entries(pictures: Input, listing: Listing, part_size: int, wanted: Container[int]) -> Iterator[tuple[int, Entry]]:
    """Gives the pictures of the wanted parts with the numbers of the parts.

    Raises:
        UserError: the names are not those of the listing.
    """
    for number, part in enumerate(pictures.parts(part_size)):
        if number in wanted:
            if part_digest(part) != listing.parts[number]:
                raise UserError(f"the pictures of part {number} changed while others were read; predict again")
            yield from ((number, entry) for entry in part)


def _decoded(entries: Iterable[tuple[int, Entry]], channels: int, threads: int) -> Generator[Decoded, None, None]:
    """Gives pictures with their pixels, which threads decode ahead."""

    def loaded() -> Iterator[tuple[int, Entry, Any]]:
        for number, entry in entries:
            try:
                yield number, entry, entry.load()
            except ImageError as error:
                yield number, entry, error

    def decoded(item: tuple[int, Entry, Any]) -> Decoded:
        number, entry, picture = item
        try:
            if isinstance(picture, ImageError):
                raise picture
            return Decoded(number, entry, read_image(picture, f"image {entry.name}", channels))
        except ImageError as error:
            return Decoded(number, entry, error)

    with ThreadPoolExecutor(threads) as pool:
        yield from _ahead(pool, decoded, loaded())


def _detected(
    items: Iterable[Decoded], model: Runtime, batch_size: int
) -> Iterator[tuple[Entry, Union[Detections, ImageError]]]:
    """Gives pictures with their detections; successive ones of one size go through the network together."""
    for shape, group in itertools.groupby(items, key=lambda item: getattr(item.pixels, "shape", None)):
        if shape is None:
            yield from ((item.entry, item.pixels) for item in group)
            continue
        while batch := list(itertools.islice(group, batch_size)):
            yield from zip([item.entry for item in batch], model.detect(np.stack([item.pixels for item in batch])))


def _ahead(pool: Executor, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Maps items in a pool, in order, and reads them only a few ahead of the consumer."""
    waiting: deque[Future] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _manifest(
    source: Source, weights: PathLike, pictures: Input, listing: Listing, settings: PartSettings
) -> dict[str, Any]:
    """Returns what a run shares with those that go on with it, and where its model and pictures come from."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "settings": {**asdict(settings), "runtime": source.runtime},
        "weights": {"sha256": source.sha256()},
        "input": {"pictures": listing.pictures, "parts": len(listing.parts), "sha256": listing.sha256},
        "sources": {"weights": os.fspath(weights), "pictures": pictures.arguments},
    }


def _description(model: Runtime, runtime: str, format: str) -> dict[str, Any]:
    """Returns what the manifest says about the model and the programs."""
    packages = ("numpy", "pillow", *PACKAGES[runtime], *(["pyarrow"] if format == "parquet" else []))
    versions = {"keras_mrcnn": __version__, "python": platform.python_version()}
    for name in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):  # such as tensorflow installed as tensorflow-cpu
            versions[name] = metadata.version(name)
    categories = [{"id": number, "name": name} for number, name in zip(model.category_ids, model.class_names)]
    return {"categories": categories, "versions": versions}
