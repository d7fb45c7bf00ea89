"""Two processes that train together end with the weights of one, share the evaluation, and survive a lost worker."""

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from child_programs import child_environment
from small_training import changed, greatest_difference, small_run, snapshot

from keras_mrcnn.config import load_config, save_config
from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.evaluation.evaluator import evaluate_model
from keras_mrcnn.evaluation.tables import read_json
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.training.checkpoint import read_progress
from keras_mrcnn.training.trainer import StagedTrainer

pytestmark = [pytest.mark.slow, pytest.mark.processes]

FILES = {"rpn": "rpn.safetensors", "box": "box.safetensors", "mask": "model.safetensors"}
LOST_SECONDS = 60  # TensorFlow misses a worker after about ten; the machine may be busy


def make_config(scenes, validate=True, **train):
    """Three stages of two epochs; validation in two batches, one for each worker."""
    stage = {"epochs": 2, "steps_per_epoch": 3, "learning_rate": 0.08, "warmup_steps": 0, "clip_norm": 0.5}
    stages = dict.fromkeys(("rpn", "box", "mask"), stage)
    # A threshold low enough for a model that has learned nothing to find something.
    box_head = {"channels": 32, "samples": 16, "score_threshold": 0.01}
    data = {"batch_size": 4, "eval_batch_size": 1, "prepared_folder": None}
    config = small_run(scenes, validate=validate, data=data, box_head=box_head, **stages)
    # More views than there are epochs of the data, so that the cache changes nothing.
    return config.model_copy(update={"train": config.train.model_copy(update={"cache_epochs": 24, **train})})


def free_ports():
    """Two ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def run_workers(arguments, deaths=("", ""), changes=((), ())):
    """Runs the command line in two workers: status, stdout and stderr of each, and the seconds between their ends."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports()]}
    # Pipes that nobody reads from become full.
    files = [tempfile.TemporaryFile("w+") for _ in range(4)]  # noqa: SIM115
    processes = []
    for index, (death, change) in enumerate(zip(deaths, changes)):
        config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        processes.append(
            subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("worker.py")), death, *map(str, arguments), *change],
                env={**child_environment(), "TF_CONFIG": json.dumps(config)},
                stdout=files[index],
                stderr=files[2 + index],
            )
        )
    try:
        ends = ended(processes, 300)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    texts = []
    for file in files:
        with file:
            file.seek(0)
            texts.append(file.read())
    found = [(process.returncode, texts[index], texts[2 + index]) for index, process in enumerate(processes)]
    return found, abs(ends[0] - ends[1])


def ended(processes, seconds):
    """When each of the processes came to its end."""
    ends, give_up = [None] * len(processes), time.monotonic() + seconds
    while None in ends:
        assert time.monotonic() < give_up, "the workers do not end"
        for index, process in enumerate(processes):
            if ends[index] is None and process.poll() is not None:
                ends[index] = time.monotonic()
        time.sleep(0.1)
    return ends


@pytest.fixture(scope="module")
def alone(scenes, tmp_path_factory):
    """The folder of a run of one process on one device, without a feature cache."""
    folder = tmp_path_factory.mktemp("workers") / "alone"
    StagedTrainer(make_config(scenes, validate=False, cache_features="off"), folder, verbose=0).fit()
    return folder


@pytest.fixture(scope="module")
def together(scenes, tmp_path_factory):
    """The folder of a run of two workers with a feature cache, and what they said."""
    folder = tmp_path_factory.mktemp("workers")
    save_config(make_config(scenes, cache_features="on"), folder / "run.yaml")
    found, _ = run_workers(["train", "--config", folder / "run.yaml", "--run", folder / "run"])
    assert [status for status, *_ in found] == [0, 0], found[0][2][-3000:] + found[1][2][-3000:]
    return folder / "run", found


def weights_of(folder, stage):
    return snapshot(MaskRCNN.from_preset(folder / FILES[stage]))


@pytest.mark.parametrize("stage", FILES)
def test_two_workers_give_the_weights_of_one_device(alone, together, stage):
    one, two = weights_of(alone, stage), weights_of(together[0], stage)
    assert greatest_difference(one, two) < 1e-5


def test_training_moved_the_weights_far(alone):
    """Without movement, equal weights would prove nothing."""
    rpn, box, mask = (weights_of(alone, stage) for stage in FILES)
    for before, after in ((rpn, box), (box, mask)):
        assert max(np.abs(after[name] - before[name]).max() for name in changed(before, after)) > 1e-3


def test_the_chief_alone_speaks_and_writes(together):
    folder, ((_, chief, _), (_, other, _)) = together
    assert "Feature cache" in chief and "mask stage:" in chief and "Wrote the trained model to" in chief
    assert other == ""
    assert {path.name for path in folder.iterdir()} == {
        "config.yaml", "checkpoint.safetensors", "rpn.safetensors", "box.safetensors", "model.safetensors",
        "metrics.json", "logs",
    }  # fmt: skip
    for stage in FILES:
        assert len(list((folder / "logs" / stage).rglob("events.*"))) == 1
    # The chief prepared each split, and the other found it.
    assert sorted(path.name.rpartition("-")[0] for path in (folder.parent / "prepared").iterdir()) == ["train", "val"]


def test_workers_share_the_evaluation(together):
    """The scores of the last stage, found by two, are those that one process finds with the same weights."""
    config, model = load_config(together[0] / "config.yaml"), MaskRCNN.from_preset(together[0] / "model.safetensors")
    data = CocoDataset(config.data.val_annotations, config.data.val_images)
    scores, results = evaluate_model(model, data, ("box", "mask"), progress=False)
    assert len({result["image_id"] for result in results}) == 2
    metrics = read_json(together[0] / "metrics.json")
    for stage in ("box", "mask"):
        assert metrics[stage].pop("per_class") == pytest.approx(scores[stage].pop("per_class"), abs=1e-6)
        assert metrics[stage] == pytest.approx(scores[stage], abs=1e-6)
    assert 0 < metrics["rpn"]["accuracy"] < 1


# The worker first and then, in the run that goes on, the chief; each loss takes one more start of both.
LOSSES = {"the chief": [(0, "box")], "both": [(1, "box"), (0, "mask")]}


@pytest.mark.parametrize("losses", ["the chief", pytest.param("both", marks=pytest.mark.long)])
def test_lost_worker_ends_the_job_and_resume_goes_on(scenes, together, tmp_path, losses):
    save_config(make_config(scenes, validate=False, cache_features="on"), tmp_path / "run.yaml")
    run, further = ["train", "--run", tmp_path / "run"], ["--config", tmp_path / "run.yaml"]
    for lost, stage in LOSSES[losses]:
        deaths = ["", ""]
        deaths[lost] = f"{stage} 2 2"
        found, seconds = run_workers([*run, *further], deaths)
        status, _, errors = found[1 - lost]
        assert (found[lost][0], status) == (-9, 1) and seconds < LOST_SECONDS, errors[-3000:]
        assert errors.count("keras-mrcnn: ") == 1 and "Traceback" not in errors
        assert (
            f"keras-mrcnn: worker {1 - lost} of 2 has lost another worker, whose own output says why; start all "
            "workers with --resume to go on from the last checkpoint\n"
        ) in errors
        assert read_progress(tmp_path / "run" / "checkpoint.safetensors") == (stage, 1)
        further = ["--resume"]
    found, _ = run_workers([*run, "--resume"])
    assert [status for status, *_ in found] == [0, 0], found[0][2][-3000:] + found[1][2][-3000:]
    assert greatest_difference(weights_of(together[0], "mask"), weights_of(tmp_path / "run", "mask")) < 1e-6


def test_workers_with_other_settings_are_refused(scenes, tmp_path):
    save_config(make_config(scenes, validate=False), tmp_path / "run.yaml")
    found, seconds = run_workers(
        ["train", "--config", tmp_path / "run.yaml", "--run", tmp_path / "run"], changes=((), ("--seed", "5"))
    )
    assert [status for status, *_ in found] == [1, 1] and seconds < LOST_SECONDS
    assert "keras-mrcnn: worker 1 has other settings than worker 0" in found[1][2]
    assert "worker 0 of 2 has lost another worker" in found[0][2]
    assert "start all workers to begin again" in found[0][2]
    assert not (tmp_path / "run").exists()
