"""New folders of annotations, with links to the pictures.

A link is a small file that stands for another one, so that annotations and pictures lie where programs look for them
and no picture is there twice. It is symbolic and relative, so the pictures and the new folder can move together; where
the system refuses that (Windows without developer mode), it is a hard link.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from keras_mrcnn.base.atomic_files import atomic_write
from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.records import shortened

# Tells of the path of a file and its path below the folder whether it is one that the writer of a format has written.
IsOwn = Callable[[Path, PurePosixPath], bool]


class NewFolder:
    """A folder that is being written under another name.

    Args:
        path: where to write now.
        final: where the folder will be.
        skipped: counts the pictures that do not exist.
    """

    def __init__(self, path: Path, final: Path, skipped: Counter) -> None:
        self.path = path
        self.final = final
        self.skipped = skipped

    def file(self, name: PurePosixPath | str) -> Path:
        """Returns where to write a file, and makes its folder.

        Raises:
            UserError: the file exists already, because two images share its name.
        """
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):
            raise UserError(f"two images would share the file {self.final / name}; rename one of them")
        return path

    def link(self, picture: Path | None, name: PurePosixPath | str) -> None:
        """Makes a link to a picture; counts a picture that does not exist.

        Raises:
            UserError: the file system has no links, or two images share the name.
        """
        if picture is None:
            self.skipped["picture that does not exist"] += 1
            return
        path, source = self.file(name), os.path.realpath(picture)
        try:
            os.symlink(os.path.relpath(source, (self.final / name).parent), path)
        except (OSError, ValueError):  # no right to do so, or on Windows another drive
            try:
                os.link(source, path)
            except OSError as error:
                raise UserError(
                    f"{self.final / name} cannot be a link to {source} ({error.strerror}); write to a folder on the "
                    "disk of the pictures, or to one COCO file whose name ends in .json"
                ) from error


@contextlib.contextmanager
def new_folder(out: Path, overwrite: bool, is_own: IsOwn, skipped: Counter) -> Iterator[NewFolder]:
    """Gives a folder to write to that becomes `out` when the block ends; if it fails, nothing has changed.

    Args:
        out: path of the folder.
        overwrite: whether to replace a folder that holds nothing but what was written before, and links.
        is_own: tells whether a file was written before.
        skipped: counts the pictures that do not exist.

    Yields:
        `NewFolder`.

    Raises:
        UserError: `out` holds something that may not be replaced.
    """
    final = Path(os.path.realpath(out))
    check_free(final, overwrite, is_own, shown=out)
    final.parent.mkdir(parents=True, exist_ok=True)
    aside = final.with_name(f".{final.name}.{secrets.token_hex(4)}.old")
    try:
        with atomic_write(final) as temporary:
            temporary.mkdir()
            yield NewFolder(temporary, final, skipped)
            if final.exists():
                os.replace(final, aside)
    except BaseException:
        if aside.exists() and not final.exists():
            os.replace(aside, final)
        raise
    if aside.exists():
        shutil.rmtree(aside)  # removes links, not the pictures


def check_free(out: Path, overwrite: bool, is_own: IsOwn, shown: Path | None = None) -> None:
    """Raises UserError unless a folder can be written: it is absent, or empty, or may be replaced.

    Args:
        out, overwrite, is_own: as for `new_folder`.
        shown: the path as the user wrote it, for the message.
    """
    shown = shown or out
    if not os.path.lexists(out):
        return
    if not out.is_dir():
        raise UserError(f"{shown} is a file; name a folder that is new or empty")
    files = (path for path in sorted(out.rglob("*")) if path.is_symlink() or not path.is_dir())
    if not overwrite:
        if next(files, None) is not None:
            raise UserError(f"{shown} is not empty; name another folder, or replace what it holds with --overwrite")
        return
    for path in files:
        name = path.relative_to(out)
        if not (_is_link(path) or is_own(path, PurePosixPath(name.as_posix()))):
            raise UserError(
                f"{shown} holds {name.as_posix()}, which is no annotation of this format and no link, and is not "
                "replaced; name another folder"
            )


def _is_link(path: Path) -> bool:
    """Returns whether the content of a file stays if this name of it is removed."""
    return path.is_symlink() or path.stat().st_nlink > 1


def name_in_folder(image: dict) -> PurePosixPath:
    """Returns the file name of an image as a path below a folder.

    Raises:
        UserError: the name leads out of the folder.

    Example:
        >>> name_in_folder({"file_name": "street/a.jpg"})
        PurePosixPath('street/a.jpg')
    """
    name = PurePosixPath(image["file_name"])
    if name.is_absolute() or ".." in name.parts or not name.name or Path(name).drive or "\0" in image["file_name"]:
        raise UserError(
            f"the file name {shortened(image['file_name'])!r} leads out of the image folder, so no link can have it; "
            "make it relative to the folder with the pictures"
        )
    return name
