"""A run that is killed again and again ends with the weights of one that is not, to the bit."""

import collections
import json
import random
from pathlib import Path

import pytest
from child_programs import run_child
from small_training import changed, small_run, snapshot, with_training

from keras_mrcnn.config import load_config
from keras_mrcnn.evaluation.tables import read_json
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.training.checkpoint import read_progress
from keras_mrcnn.weights.native import read_safetensors

CHECKPOINT, CACHE, SHARD = "checkpoint.safetensors", "[0-9]*-[0-9].tfrecord", "*-of-*.tfrecord"
STAGES = {
    "rpn": {"epochs": 3, "steps_per_epoch": 1},
    "box": {"epochs": 6, "steps_per_epoch": 2, "optimizer": "adamw"},
    "mask": {"epochs": 6, "steps_per_epoch": 2, "schedule": "cosine"},
    "joint": {"epochs": 5, "steps_per_epoch": 2, "average": 0.9},
}

pytestmark = [pytest.mark.slow, pytest.mark.processes]


def aimed(how, file, count=1, always=False):
    return {"how": how, "file": file, "count": count, "always": always}


def make_aims(few):
    """Where each attempt is killed: the n-th goes on from where the one before it came to."""
    clock = random.Random(2)

    def timed(after, count=1, longest=0.06, always=False):
        delay = clock.uniform(0, longest)
        return {"how": "timed", "after": after, "count": count, "delay": delay, "always": always}

    aims = [
        aimed("half written", f"{SHARD}.*.tmp", always=True),
        aimed("after rename", SHARD),
        aimed("before rename", "manifest.json"),
        aimed("after rename", "manifest.json"),
        timed("start", longest=2.0),
        aimed("before rename", "config.yaml"),
        aimed("half written", f"{CHECKPOINT}.tmp", always=True),
        aimed("after rename", CHECKPOINT),
        timed("step rpn"),
        aimed("half written", "rpn.safetensors.tmp", always=True),
        aimed("before rename", "rpn.safetensors"),
        aimed("before rename", "metrics.json"),
        aimed("half written", f"{CACHE}.*.tmp", 3, always=True),
        aimed("before rename", CACHE, 2),
        timed("stage box", longest=2.0),
        aimed("half written", f"{CHECKPOINT}.tmp"),
        timed("step box", 2, always=True),
        aimed("before rename", CHECKPOINT),
        aimed("after rename", CHECKPOINT),
        timed("step box"),
        aimed("half written", "box.safetensors.tmp", always=True),
        aimed("after rename", "box.safetensors"),
        timed("start", longest=2.0),
        timed("step mask", always=True),
        aimed("half written", f"{CHECKPOINT}.tmp"),
        aimed("after rename", CHECKPOINT),
        timed("step mask", 2),
        aimed("half written", "mask.safetensors.tmp", always=True),
        aimed("before rename", "metrics.json"),
        aimed("removing", "cache", always=True),  # before the joint stage, which does not read it
        timed("stage joint", longest=2.0),
        timed("step joint"),
        aimed("half written", f"{CHECKPOINT}.tmp"),
        timed("step joint", 2, always=True),
        aimed("after rename", CHECKPOINT),
        timed("step joint", 2),
        aimed("before rename", CHECKPOINT),
        aimed("half written", "model.safetensors.tmp", always=True),
        aimed("before rename", "metrics.json"),
    ]
    return [aim for aim in aims if aim["always"] or not few]


@pytest.fixture(scope="module", params=["few", pytest.param("all", marks=pytest.mark.long)])
def folder(scenes, tmp_path_factory, request):
    """The folder with the runs whole/run and killed/run, each beside its prepared data, and the log of the kills."""
    folder = tmp_path_factory.mktemp("kills")
    config = small_run(scenes, validate=False, norm="bn", data={"prepared_folder": None}, **STAGES)
    config = with_training(config, deterministic=True, cache_features="on")
    plan = {"config": config.model_dump(mode="json"), "aims": make_aims(few=request.param == "few")}
    (folder / "plan.json").write_text(json.dumps(plan))
    program = Path(__file__).with_name("killed_training.py")
    done = run_child(program, folder / "plan.json", folder, timeout=1800)
    output = folder / "output.txt"
    assert done.returncode == 0, done.stderr[-2000:] + (output.read_text()[-3000:] if output.exists() else "")
    return folder


@pytest.fixture(scope="module")
def log(folder):
    return json.loads((folder / "log.json").read_text())


def test_kills_hit_every_stage_and_what_is_written(log, request):
    kills, few = log["kills"], "few" in request.node.name
    assert len(kills) >= (10 if few else 20) and log["finished"]
    by_stage = collections.Counter(kill["stage"] for kill in kills)
    assert all(by_stage[stage] >= (1 if few else 3) for stage in STAGES), by_stage
    files = {kill["file"].replace(".tmp", "") for kill in kills if kill["how"] == "half written"}
    assert files >= {CHECKPOINT, *(f"{name}.safetensors" for name in ("rpn", "box", "mask", "model"))}
    assert files >= {f"{SHARD}.*", f"{CACHE}.*"}
    assert sum(kill["how"] == "timed" for kill in kills) >= (2 if few else 5)
    assert any(kill["how"] == "removing" for kill in kills)


def test_the_last_good_checkpoint_is_never_lost(log):
    progress = [tuple(kill["progress"]) for kill in log["kills"]]
    assert progress == sorted(progress) and progress[0] == (-1, 0) and progress[-1] == (3, 5)


def test_prepared_data_are_the_same(folder):
    contents = []
    for run in ("whole", "killed"):
        files = [path for path in (folder / run / "prepared").rglob("*") if path.is_file() and path.suffix != ".tmp"]
        contents.append({path.relative_to(folder / run): path.read_bytes() for path in files})
    assert contents[0] == contents[1] and any(path.match(SHARD) for path in contents[0])


@pytest.mark.parametrize("file", ["rpn.safetensors", "box.safetensors", "mask.safetensors", "model.safetensors"])
def test_weights_are_those_of_a_run_without_kills(folder, file):
    whole, killed = (snapshot(MaskRCNN.from_preset(folder / run / "run" / file)) for run in ("whole", "killed"))
    assert changed(whole, killed) == set()


def test_checkpoints_are_the_same_with_the_state_of_the_optimizer(folder):
    whole, killed = (folder / run / "run" / CHECKPOINT for run in ("whole", "killed"))
    assert read_progress(whole) == read_progress(killed) == ("joint", 5)
    contents = [read_safetensors(path)[0] for path in (whole, killed)]
    assert contents[0].keys() == contents[1].keys() and changed(*contents) == set()


def test_run_folder_is_complete_and_clean(folder):
    whole, killed = folder / "whole" / "run", folder / "killed" / "run"
    assert set(read_json(killed / "metrics.json")["training"]) == set(STAGES)
    assert load_config(killed / "config.yaml") == load_config(whole / "config.yaml")
    names = {path.name for path in killed.iterdir() if not path.name.startswith(".")}
    assert names == {path.name for path in whole.iterdir()} and "cache" not in names
