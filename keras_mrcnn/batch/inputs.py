"""Any number of pictures, one after the other: files, folders, lists, patterns, prepared data or Parquet files.

The order is always the same. Names are read again rather than kept: of folders, those of one at a time are in memory.
"""

from __future__ import annotations

import fnmatch
import functools
import glob
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple, Optional, Union

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.image_files import IMAGE_SUFFIXES, ImageError, Picture

LIST_SUFFIX, PARQUET_SUFFIX = ".txt", ".parquet"
PREPARED_FILE = "manifest.json"  # of a folder of prepared data
EVERYTHING_BELOW = "**"

PathLike = Union[str, os.PathLike]


class Entry(NamedTuple):
    """A picture of the input.

    Args:
        name: path of its file, or what stands for it.
        image_id: its id: that of the source, or its place in the input, from 1.
        load: returns its path, its bytes or its pixels. To be called in the order of the entries. Raises ImageError.
    """

    name: str
    image_id: int
    load: Callable[[], Picture]


class Unnumbered(NamedTuple):
    """A picture as a source gives it: like `Entry`, with its name below the folder, and no id where it has none."""

    name: str
    below: str
    image_id: Optional[int]
    load: Callable[[], Picture]


class Listing(NamedTuple):
    """What is kept of the names of an input.

    Args:
        pictures: how many there are.
        sha256: of all names and ids.
        parts: hash of the names and ids of each part, a few bytes each.
    """

    pictures: int
    sha256: str
    parts: tuple[bytes, ...]


class Input:
    """Pictures in a fixed order, which can be read again and again.

    Args:
        arguments: what the user has named.
        read: returns an iterator of `Unnumbered`.
        fingerprint: text that changes with the content, where names alone do not tell.
        ids: gives the name and the id of a picture by its name below the folder, in place of those it has.
    """

    def __init__(
        self,
        arguments: Sequence[PathLike],
        read: Callable[[], Iterator[Unnumbered]],
        fingerprint: str = "",
        ids: Optional[Callable[[str], tuple[str, int]]] = None,
    ) -> None:
        self.arguments = [os.fspath(argument) for argument in arguments]
        self._read, self._fingerprint, self._ids = read, fingerprint, ids

    def __iter__(self) -> Iterator[Entry]:
        """Yields the `Entry` of each picture.

        Raises:
            UserError: two pictures have one record of an annotation file.
        """
        used = set()
        for number, (name, below, image_id, load) in enumerate(self._read(), start=1):
            if self._ids is not None:
                file, (name, image_id) = name, self._ids(below)
                if image_id in used:
                    raise UserError(f"{file} and a picture before it are both {name}; leave one out")
                used.add(image_id)
            yield Entry(as_utf8(name), number if image_id is None else image_id, load)

    def parts(self, size: int) -> Iterator[list[Entry]]:
        """Yields the pictures of each part, `size` at a time; the last part may have fewer."""
        entries = iter(self)
        while part := list(itertools.islice(entries, size)):
            yield part

    def listing(self, part_size: int) -> Listing:
        """Reads all names, and returns what is kept of them.

        Raises:
            UserError: there are no pictures.
        """
        pictures, digests, whole = 0, [], hashlib.sha256(self._fingerprint.encode())
        for part in self.parts(part_size):
            pictures += len(part)
            digests.append(part_digest(part))
            whole.update(digests[-1])
        if not pictures:
            raise UserError(f"{', '.join(self.arguments)}: has no images ({', '.join(IMAGE_SUFFIXES)})")
        return Listing(pictures, whole.hexdigest(), tuple(digests))


def part_digest(entries: Iterable[Entry]) -> bytes:
    """Returns a hash of the names and ids of pictures: 16 bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for entry in entries:
        digest.update(f"{entry.image_id}\0{entry.name}\n".encode())
    return digest.digest()


def open_input(
    arguments: Sequence[PathLike],
    column: Optional[str] = None,
    ids: Optional[Callable[[str], tuple[str, int]]] = None,
) -> Input:
    """Opens pictures.

    Args:
        arguments: in any mixture, image files; folders, with all images below them; lists (*.txt) with a path on each
            line; and patterns such as photos/**/*.jpg. Or Parquet files (*.parquet, or a pattern of them). Or a single
            folder of prepared data.
        column: column of the Parquet files that holds the pictures; by default one with a usual name.
        ids: see `Input`.

    Returns:
        `Input`. Relative paths in lists and Parquet files start at the current folder.

    Raises:
        UserError: something does not exist, or different kinds are mixed; the message names it.

    Example:
        >>> [entry.image_id for entry in open_input(["photos/"])]  # doctest: +SKIP
        [1, 2, 3]
    """
    arguments = [os.fspath(argument) for argument in arguments]
    prepared = [argument for argument in arguments if is_prepared(argument)]
    parquet = [argument for argument in arguments if argument.endswith(PARQUET_SUFFIX)]
    if (prepared and len(arguments) > 1) or (parquet and len(parquet) < len(arguments)):
        raise UserError(f"{(prepared or parquet)[0]} cannot be read together with other pictures; name it alone")
    if column is not None and not parquet:
        raise UserError(f"--column {column}: only Parquet files have columns; leave it out")
    if prepared:
        return _prepared_input(prepared[0], ids)
    if parquet:
        from keras_mrcnn.batch.parquet_inputs import parquet_input

        return parquet_input(arguments, column, ids)
    for argument in arguments:
        if not os.path.exists(argument) and not glob.has_magic(argument):
            raise UserError(f"{argument} does not exist; check the path")
    return Input(arguments, lambda: itertools.chain.from_iterable(map(files_of, arguments)), ids=ids)


def files_of(argument: str) -> Iterator[Unnumbered]:
    """Gives the image files that an argument names: a file, a folder, a list or a pattern; see `open_input`."""
    path = Path(argument)
    if path.is_dir():
        files = ((file, file.relative_to(path).as_posix()) for file in _images_below(path))
    elif path.suffix == LIST_SUFFIX and path.is_file():
        files = ((file, file.name) for file in _listed(path))
    elif not path.exists():
        files = ((file, file.name) for file in matching(argument))
    else:
        files = iter([(path, path.name)])
    for file, below in files:
        yield Unnumbered(file.as_posix(), below, None, functools.partial(os.fspath, file))


def _images_below(folder: Path) -> Iterator[Path]:
    """Gives the images below a folder in the order of their paths; links to folders are not followed."""
    with os.scandir(folder) as entries:
        names = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    for name, is_folder in names:
        path = folder / name
        if is_folder:
            yield from _images_below(path)
        elif path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            yield path


def _listed(path: Path) -> Iterator[Path]:
    """Gives the paths in a list, one on each line; empty lines are left out."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        yield from (Path(line.rstrip("\r\n")) for line in file if line.strip())


def matching(pattern: str) -> Iterator[Path]:
    """Gives the files that fit a pattern, in the order of their paths.

    Args:
        pattern: path whose parts may have *, ? and [...]; a part ** stands for any number of folders. Hidden files fit
            only a part that begins with a dot.

    Raises:
        UserError: no file fits.
    """
    parts = PurePath(pattern).parts
    plain = len(list(itertools.takewhile(lambda part: not glob.has_magic(part), parts)))
    if plain == len(parts):
        raise UserError(f"{pattern} does not exist; check the path")
    files = _fitting(Path(*parts[:plain]), parts[plain:])
    first = next(files, None)
    if first is None:
        raise UserError(f"{pattern}: no file fits this pattern")
    return itertools.chain([first], files)


def _fitting(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    """Gives the files below a folder that fit the rest of a pattern."""
    first, rest = parts[0], parts[1:]
    for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
        path = folder / name
        if name.startswith(".") and not first.startswith("."):
            continue  # hidden
        if first == EVERYTHING_BELOW:
            if path.is_dir() and not path.is_symlink():
                yield from _fitting(path, parts)
            elif not rest and path.is_file():
                yield path
        elif fnmatch.fnmatch(name, first):
            if rest:
                yield from _fitting(path, rest)
            elif path.is_file():
                yield path
    if first == EVERYTHING_BELOW and rest:
        yield from _fitting(folder, rest)


def is_prepared(argument: str) -> bool:
    """Returns whether an argument names a folder of prepared data, which may be a URL."""
    return "://" in argument or os.path.isfile(os.path.join(argument, PREPARED_FILE))


def _prepared_input(folder: str, ids: Optional[Callable[[str], tuple[str, int]]]) -> Input:
    """Opens the images of prepared data, in the order of their ids, which are their names, too."""
    import tensorflow as tf

    from keras_mrcnn.data.prepared import PreparedDataset

    dataset = PreparedDataset(folder)

    def load(row: int) -> bytes:
        try:
            return dataset.image_file(row)
        except tf.errors.OpError as error:
            name = f"image {dataset.image_ids[row]} of {folder}"
            raise ImageError(f"{name} cannot be read ({error.message}); prepare the data again") from None

    def read() -> Iterator[Unnumbered]:
        for row, image_id in enumerate(dataset.image_ids):
            yield Unnumbered(str(image_id), str(image_id), int(image_id), functools.partial(load, row))

    return Input([folder], read, dataset.key, ids)


def as_utf8(text: str) -> str:
    """Returns a text with escapes in place of bytes that are no UTF-8, which file names may have."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")
