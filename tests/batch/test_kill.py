"""A run that is killed again and again, and resumed each time, writes the files of one that was not."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from child_programs import ROOT, child_environment
from fake_detector import make_pictures

from keras_mrcnn.batch import PartSettings, open_input, predict_parts

PROGRAM = Path(__file__).with_name("predicting.py")
PICTURES, PART_SIZE = 60, 4
SECONDS = 0.01  # for a picture


def start(pictures, out):
    """A process that has begun to write parts; a context manager that waits for its end."""
    environment = child_environment()
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "tests"), environment["PYTHONPATH"]])
    command = [sys.executable, PROGRAM, pictures, out, PART_SIZE, SECONDS]
    process = subprocess.Popen(list(map(str, command)), env=environment, stdout=subprocess.PIPE)
    assert process.stdout.readline().strip() == b"begins"
    return process


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.long)])
def test_killed_and_resumed(tmp_path, model, kills):
    pictures = make_pictures(tmp_path / "photos", PICTURES)
    (pictures / "007.png").write_bytes(b"no image")
    predict_parts(model, open_input([pictures]), tmp_path / "whole", PartSettings("parquet", PART_SIZE))
    out, left, interrupted = tmp_path / "out", [], 0
    for kill in range(kills):
        with start(pictures, out) as process:
            # Not always at the same place of a part.
            time.sleep(SECONDS * PART_SIZE * (0.5 + kill / kills))
            process.kill()
        interrupted += not (out / "errors.parquet").exists()
        left.append(len(list(out.glob("part-*.json"))))
    assert interrupted >= min(kills, 3) and left == sorted(left)
    with start(pictures, out) as process:
        assert process.wait(60) == 0
    assert files(out) == files(tmp_path / "whole")
