"""scripts/benchmark.py: what its rows are made of."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import click
import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
PEAK = "import peak_memory; held = bytearray(2**20 * int({})); print(peak_memory.peak_memory_mb())"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a child does not begin with its parent's peak")
def test_peak_memory_is_of_the_child_alone():
    held = bytearray(200 * 2**20)  # real memory, for it is written
    peaks = []
    for size in (0, 64):
        command = [sys.executable, "-c", PEAK.format(size)]
        done = subprocess.run(command, cwd=SCRIPTS / "peers", capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    assert 0 < peaks[0] < len(held) / 2**20 / 2
    assert peaks[1] - peaks[0] == pytest.approx(64, abs=8)


@pytest.fixture
def scripts(monkeypatch):
    """Imports a script by its name."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module


def test_warm_up_is_left_out_of_a_pictures_seconds(scripts):
    assert scripts("predict_runner").seconds_a_picture([10, 19, 20, 30, 31, 32, 36]) == 2


def test_rows_of_predict(scripts, monkeypatch, tmp_path):
    script, commands = scripts("benchmark_predict"), []

    def run_program(command, reads_json=True):
        commands.append([str(part) for part in command[2:]])
        number = len(commands)
        return {"seconds_a_picture": number, "peak_memory_mb": 100 * number} if reads_json else None

    monkeypatch.setattr(script, "run_program", run_program)
    rows = script.measure_prediction(tmp_path / "m.safetensors", [tmp_path / "a.jpg"], 3)
    # The export is the first; then they take turns: 2, 4, 6 and 3, 5, 7.
    assert rows == [("predict, a picture", 4, 5, 1.15), ("peak memory MB: predict", 400, 500, None)]
    assert "export" in commands[0] and [command[0] for command in commands[1:]] == ["command", "saved_model"] * 3
    assert commands[1][1] == str(tmp_path / "m.safetensors") and commands[2][1].endswith("/model/1")


def test_rows_of_parts(scripts, monkeypatch, tmp_path):
    script, commands = scripts("benchmark_parts"), []

    def run_program(command, reads_json=True):
        commands.append([str(part) for part in command[2:]])
        return {"parts": [3, 9, 4], "network": [1, 2, 8], "peak_memory_mb": 100 + len(commands)}

    monkeypatch.setattr(script, "run_program", run_program)
    monkeypatch.setattr(script, "MANY", 3)
    monkeypatch.setattr(script, "FEW", 2)
    rows = script.measure_parts(tmp_path / "m.safetensors", [tmp_path / "a.jpg"], 3)
    assert rows == [("in parts, a picture of 1", 4, 2, pytest.approx(1.11, abs=0.01))]
    assert commands[0] == ["time", str(tmp_path / "m.safetensors"), "3", str(tmp_path / "a.jpg")]
    assert script.measure_memory() == [("peak memory MB: in parts, 3 and 2 pictures", 103, 104, 1.05)]
    assert [command[0] for command in commands[1:]] == ["model", "memory", "memory"]


def test_a_killed_command_is_killed_within_a_part(scripts, tmp_path):
    """A program that writes a part every 50 ms is killed after its second one, at the latest one part later."""
    program = "import sys, time\nfor n in range(100):\n time.sleep(.05); open(f'{sys.argv[1]}/part-{n}.json', 'w')"
    script = scripts("benchmark_parts")
    script.interrupt([sys.executable, "-c", program], tmp_path, 0.5)
    assert 2 <= len(script.finished_parts(tmp_path)) <= 10
    with pytest.raises(click.ClickException, match="ended before it could be killed"):
        script.interrupt([sys.executable, "-c", "pass"], tmp_path, 0.5)


def test_predict_needs_more_pictures_than_warm_up(scripts, tmp_path):
    for number in range(5):
        (tmp_path / f"{number}.png").touch()
    script = scripts("benchmark_predict")
    assert [path.name for path in script.first_pictures(tmp_path, 24)] == [f"{number}.png" for number in range(5)]
    with pytest.raises(click.UsageError, match="has 4 files; at least 5 are needed"):
        script.first_pictures(tmp_path, 4)


def test_a_program_that_fails_is_named_with_its_last_line(scripts):
    run_program = scripts("benchmark_infer").run_program
    assert run_program([sys.executable, "-c", "print('first'); print('{\"a\": 1}')"]) == {"a": 1}
    with pytest.raises(click.ClickException, match="failed: no luck"):
        run_program([sys.executable, "-c", "import sys; sys.exit('no luck')"])
