"""scripts/predict_runner.py: the command and the SavedModel finish every picture, one after the other."""

from __future__ import annotations

import importlib
import time
from pathlib import Path

import pytest
from export.models import noise_image
from PIL import Image

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.mark.parametrize("kind", ["command", "saved_model"])
def test_every_picture_is_finished_in_turn(exported, kind, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    runner, pictures = importlib.import_module("predict_runner"), [str(tmp_path / f"{n}.png") for n in range(5)]
    for number, path in enumerate(pictures):
        Image.fromarray(noise_image(64, 80, number)).save(path)
    weights = tmp_path / "model.safetensors"
    exported.detector.model.save_pretrained(weights)
    run, model = {
        "command": (runner.run_command, weights),
        "saved_model": (runner.run_saved_model, exported.saved_model_path),
    }[kind]
    start = time.time() - 0.1  # a file system's clock may be a tick behind
    finished = run(str(model), str(tmp_path / "found"), pictures)
    assert len(finished) == 5 and finished == sorted(finished)
    assert start <= finished[0] and finished[-1] <= time.time() + 0.1
