"""Runs the notebooks and writes what they show as pages: docs/notebooks/NAME.md with its pictures.

    pip install nbconvert
    python scripts/render_notebooks.py
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "notebooks"


def is_log(output: dict[str, Any]) -> bool:
    """Returns whether an output of a cell is a log line of a library."""
    return output.get("name") == "stderr" or str(output.get("text", "")).startswith("INFO:tensorflow")


def main() -> None:
    """Renders the notebooks."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    render()


def render() -> None:
    """Runs all notebooks and replaces the pages."""
    import nbformat
    from nbclient import NotebookClient
    from nbconvert import MarkdownExporter
    from PIL import Image
    from tqdm import tqdm

    pages = PAGES.with_name(f".{PAGES.name}.tmp")
    shutil.rmtree(pages, ignore_errors=True)
    pages.mkdir()
    for path in tqdm(sorted((ROOT / "notebooks").glob("*.ipynb")), "render", unit="notebook"):
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()
        for cell in notebook.cells:  # log lines of libraries are no results
            if cell.cell_type == "code":
                cell.outputs = [out for out in cell.outputs if not is_log(out)]
        text, resources = MarkdownExporter().from_notebook_node(notebook, {"output_files_dir": f"{path.stem}_files"})
        for name, content in resources["outputs"].items():
            (pages / name).parent.mkdir(exist_ok=True)
            smaller = Path(name).with_suffix(".jpg").as_posix()
            Image.open(io.BytesIO(content)).convert("RGB").save(pages / smaller, quality=88)
            text = text.replace(name, smaller)
        text = text.replace("](../docs/", "](../")  # the pages are one folder deeper than the notebooks
        (pages / f"{path.stem}.md").write_text(text.rstrip() + "\n", encoding="utf-8")
    shutil.rmtree(PAGES, ignore_errors=True)
    pages.rename(PAGES)


if __name__ == "__main__":
    main()
