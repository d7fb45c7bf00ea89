"""What can be said of the notebooks without running them; scripts/test.sh runs them, with nbmake."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
NAMES = [
    "01_data",
    "02_anchors_and_targets",
    "03_proposals",
    "04_box_and_mask_heads",
    "05_training",
    "06_evaluation",
    "07_serving",
    "08_fine_tune",
]


def test_all_are_there():
    assert [path.stem for path in NOTEBOOKS] == NAMES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_committed_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code and all(cell.outputs == [] and cell.execution_count is None for cell in code)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_opens_with_what_it_shows_and_how_long_it_takes(path):
    first = nbformat.read(path, as_version=4).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith(f"# {int(path.stem[:2])}. ")
    assert re.search(r"[Tt]akes about .* (seconds|minute)", first.source.replace("\n", " "))
