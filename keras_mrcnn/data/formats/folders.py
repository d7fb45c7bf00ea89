"""Finds the picture files that annotations name, and never one outside the folder of the pictures."""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

SAMPLE = 50  # pictures to look for in each folder that may be the right one
_NO_PICTURES = (".json", ".xml", ".txt", ".csv")  # some LabelMe files give their own name for that of the picture
_UPLOAD = re.compile(r"^[0-9a-f]{8}-(?=.)")  # Label Studio puts this before the name of a file that is uploaded


class PictureFolder:
    """The folder that the names of pictures are relative to.

    Args:
        path: path of the folder; it need not exist.

    Example:
        >>> import tempfile
        >>> folder = PictureFolder(tempfile.mkdtemp())
        >>> (folder.path / "a b.jpg").touch()
        >>> folder.find(["/data/upload/1/0f34ab12-a%20b.jpg"])
        'a b.jpg'
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def find(self, names: Sequence[str]) -> str | None:
        """Finds a picture.

        Names that are absolute, lead out of the folder or do not exist are tried by their last parts, without URL
        quotes, and without what Label Studio puts before a name.

        Args:
            names: names that it may have, the likeliest first.

        Returns:
            Its path relative to the folder, with slashes, or None if there is no such file below the folder.
        """
        for name in names:
            for inside in (inside_name(name), *_shorter(name)):
                if inside and not inside.lower().endswith(_NO_PICTURES) and os.path.isfile(self.path / inside):
                    return inside
        return None


def inside_name(name: str) -> str:
    """Returns a file name with slashes, without ".." and without a root or a drive: it leads nowhere else.

    Example:
        >>> inside_name("sub/../a.jpg"), inside_name("../../etc/a.jpg"), inside_name("C:\\\\b\\\\a.jpg")
        ('a.jpg', '', 'b/a.jpg')
    """
    slashes = re.sub(r"^[A-Za-z]:/", "", name.replace("\\", "/"))
    normal = posixpath.normpath(slashes).lstrip("/") if slashes else ""
    return "" if normal in ("", ".") or normal.split("/")[0] == ".." else normal


def last_parts(name: str) -> str:
    """Returns a file name like `inside_name`, but what remains of one that leads out of the folder."""
    return inside_name(name) or "/".join(_parts(name))


def usual_folders(folder: Path) -> list[Path]:
    """Returns the folders where the pictures of annotations in `folder` usually are, the likeliest first."""
    parent, name = folder.resolve().parent, folder.resolve().name
    beside = [parent / "images" / name, parent / "images", parent / "JPEGImages", parent.parent / "images" / name]
    return [folder, folder / "images", folder / "JPEGImages", *beside, parent]


def choose_folder(candidates: Iterable[Path], pictures: Sequence[Sequence[str]]) -> PictureFolder:
    """Chooses the folder that has the most pictures, and of equal ones that in which most are under their own names.

    Args:
        candidates: folders, the likeliest first; those that do not exist count as empty.
        pictures: for each picture, the names that it may have.
    """
    folders = [PictureFolder(path) for path in candidates]
    best, most = folders[0], (0, 0)
    for folder in folders:
        found = [(names, folder.find(names)) for names in pictures[:SAMPLE]] if folder.path.is_dir() else []
        score = sum(bool(name) for _, name in found), sum(name in map(inside_name, names) for names, name in found)
        if score > most:
            best, most = folder, score
        elif most == (0, 0) and folder.path.is_dir() and not best.path.is_dir():
            best = folder
    return best


def _shorter(name: str) -> Iterator[str]:
    """Gives the names that a picture may have instead of `name`, those with more parts first."""
    slashes = name.replace("\\", "/")
    paths = [slashes]
    if "://" in slashes or "?d=" in slashes:
        with contextlib.suppress(ValueError):  # a URL that is none
            url = urlsplit(slashes)
            paths = [*parse_qs(url.query).get("d", []), url.path]
    for path in dict.fromkeys([*paths, *map(unquote, paths)]):
        parts = _parts(path)
        yield from ("/".join(parts[first:]) for first in range(len(parts)))
        if parts and _UPLOAD.match(parts[-1]):
            yield _UPLOAD.sub("", parts[-1])


def _parts(name: str) -> list[str]:
    """Returns the parts of a file name, without those that lead elsewhere."""
    return [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
