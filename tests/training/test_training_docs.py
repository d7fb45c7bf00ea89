"""The example of docs/training.md runs as it stands."""

import re
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs" / "training.md"


@pytest.mark.long
def test_the_example_with_data_of_the_users_own(tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r"```python\n(import keras\n.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(example, names)  # noqa: S102
    assert (tmp_path / "squares.safetensors").is_file()
    assert set(names["history"].history) == {"loss", "mask_loss", "val_loss", "val_mask_loss"}
    assert np.isfinite(names["history"].history["val_loss"]).all()
    printed = capsys.readouterr().out
    assert all(f"{kind} [" in printed for kind in ("RPNStage", "BoxStage", "MaskStage"))
