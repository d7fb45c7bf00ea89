"""Two devices train as one does with the same batch, and score as one does: the same weights, losses and detections."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from child_programs import run_child
from small_training import BOX_HEAD, changed, greatest_difference, small_run, snapshot

from keras_mrcnn.config import load_config
from keras_mrcnn.mask_rcnn.model import MaskRCNN

pytestmark = [pytest.mark.slow, pytest.mark.processes]

RATE, CLIP_NORM, STEPS = 0.1, 0.2, 3
FILES = {"rpn": "rpn.safetensors", "box": "box.safetensors", "mask": "model.safetensors"}
# Every norm that does not look at one device's images alone; the heads have none, so one run takes all stages.
RUNS = {"frozen_bn": ("rpn", "box", "mask"), "group_norm": ("rpn",), "sync_bn": ("rpn",)}
CASES = [(norm, stage) for norm, stages in RUNS.items() for stage in stages]


def make_config(scenes, norm, stages):
    # Only the run of all stages is clipped, and strongly.
    clip_norm = CLIP_NORM if len(stages) > 1 else None
    plain = {
        "learning_rate": 4 * (RATE if clip_norm else RATE / 10),  # for 16 images, of which a step has 4
         "momentum": 0.0 if clip_norm else 0.9, "weight_decay": 0.0,
        "warmup_steps": 0, "steps_per_epoch": STEPS, "milestones": (),
    }  # fmt: skip
    settings = {
        name: {**plain, "clip_norm": clip_norm, "epochs": int(name in stages)} for name in ("rpn", "box", "mask")
    }
    neck = "fpn" if len(stages) > 1 else "c4"
    # A threshold low enough for a model that has learned nothing to find something.
    settings["box_head"] = {"channels": 32, "samples": 16, "score_threshold": 0.01}
    validate = len(stages) > 1
    settings["validation_images"] = 100 if validate else 0
    return small_run(scenes, validate=validate, norm=norm, neck=neck, data={"batch_size": 4}, **settings)


@pytest.fixture(scope="module")
def runs(scenes, tmp_path_factory):
    """The folder of the runs FOLDER/NORM/(one|two)."""
    folder = tmp_path_factory.mktemp("devices")
    configs = {norm: make_config(scenes, norm, stages).model_dump(mode="json") for norm, stages in RUNS.items()}
    (folder / "configs.json").write_text(json.dumps(configs))
    program = Path(__file__).with_name("two_devices.py")
    done = run_child(program, folder / "configs.json", folder, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def weights_of(folder, stage):
    return snapshot(MaskRCNN.from_preset(folder / FILES[stage]))


@pytest.mark.parametrize(("norm", "stage"), CASES)
def test_two_devices_give_the_weights_of_one(runs, norm, stage):
    one, two = (weights_of(runs / norm / devices, stage) for devices in ("one", "two"))
    assert greatest_difference(one, two) < 1e-5


@pytest.mark.parametrize(("norm", "stage"), CASES)
def test_two_devices_show_the_losses_of_one(runs, norm, stage):
    one, two = (
        json.loads((runs / norm / devices / f"losses_{stage}.json").read_text()) for devices in ("one", "two")
    )
    assert two == pytest.approx(one, rel=1e-4)
    assert one["loss"] > 0 and (one.get("val_loss", 0) > 0) == (norm == "frozen_bn")


def test_two_devices_find_what_one_finds(runs):
    one, two = (json.loads((runs / f"evaluation_{devices}.json").read_text()) for devices in ("one", "two"))
    assert two == one
    assert len({result["image_id"] for result in one["results"]}) == 3
    assert 0 < one["scores"]["rpn"]["accuracy"] < 1


def test_the_gradient_is_clipped_after_the_devices_have_been_added_up(runs):
    """Every step is as long as the clip says, so clipping was at work, and the runs above agree in spite of it."""
    for devices in ("one", "two"):
        folder = runs / "frozen_bn" / devices
        before = weights_of(folder, "rpn")
        for stage in ("box", "mask"):
            after = weights_of(folder, stage)
            moved = np.sqrt(sum(np.sum((after[name] - before[name]) ** 2, dtype=np.float64) for name in after))
            assert 0.5 * STEPS * RATE * CLIP_NORM < moved < 1.001 * STEPS * RATE * CLIP_NORM
            before = after


def test_training_moved_the_weights_far(runs):
    """Without movement, equal weights would prove nothing."""
    for norm in RUNS:
        folder = runs / norm / "one"
        config, after = load_config(folder / "config.yaml"), weights_of(folder, "rpn")
        keras.utils.set_random_seed(config.train.seed)  # as the trainer does: the weights that it began with
        before = snapshot(MaskRCNN(config.model))
        moved = changed(before, after)
        assert moved and not any(name.startswith(BOX_HEAD) for name in moved)
        assert max(np.abs(after[name] - before[name]).max() for name in moved) > 1e-3
