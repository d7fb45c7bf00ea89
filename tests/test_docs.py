"""The documents point to files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
PAGES = [ROOT / name for name in TOP] + sorted((ROOT / "docs").rglob("*.md"))
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)  # brackets in code are no links
LINK = re.compile(r"\]\(\s*<?([^)>\s]+)")


def broken_links(page: Path) -> list[str]:
    """The relative links of a page to files that do not exist."""
    links = LINK.findall(CODE.sub("", page.read_text("utf-8")))
    files = [link.partition("#")[0] for link in links if not re.match(r"https?:|mailto:|#", link)]
    return [file for file in files if not (page.parent / file).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_point_to_files(page):
    assert broken_links(page) == []


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("[a](page.md#top) [b](gone.md#part) [c](https://x.org/d) [e](#f) ![g](h.png) `[i](j)`\n", "utf-8")
    assert broken_links(page) == ["gone.md", "h.png"]
