"""The peer script that trains torchvision: run as a user runs it, where torch and torchvision are installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch_python import run_torch, skip_without

from keras_mrcnn.config import load_config
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.scenes.generator import generate_scenes

PEERS = Path(__file__).resolve().parents[1] / "scripts" / "peers"
CHECKS = """
import contextlib, io, json, sys
from pathlib import Path
import torch
from torchvision.ops import masks_to_boxes
from torchvision_scenes import evaluate, open_scenes, parse_arguments

train, val = (open_scenes(Path(sys.argv[1]), split) for split in ("train", "val"))
torch.manual_seed(0)
loose, flipped = 0.0, 0
for index in range(len(train)):
    image, target = train[index]
    tight = masks_to_boxes(target["masks"]) + torch.tensor([0, 0, 1, 1])
    loose = max(loose, float((tight - target["boxes"]).abs().max()))
    flipped += not torch.equal(image, train.images[index] / 255.0)
found = [{**annotation, "score": 1.0} for annotation in val.coco.dataset["annotations"]]
refused = []
for line in json.loads(sys.argv[2]):
    sys.argv[1:] = line.split()
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.suppress(SystemExit):
        parse_arguments()
    refused.append(said.getvalue())
print(json.dumps({"loose": loose, "flipped": flipped, "images": len(train), "refused": refused,
                  "perfect": evaluate(val.coco, found), "nothing": evaluate(val.coco, [])}))
"""
REFUSED = {
    "nowhere --minutes 1": "nowhere/annotations/train.json is not there; make the scenes with",
    ". --minutes 0": "--minutes 0: must be more than 0",
    ". --minutes inf": "--minutes inf: must be more than 0, and end",
    ". --minutes 1 --json nowhere/x.json": "there is no folder nowhere; make it first",
}
pytestmark = pytest.mark.torchvision


def run(*arguments):
    return run_torch(*arguments, cwd=PEERS)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Eight scenes to train on and two to score; the tests are skipped where torch is not."""
    skip_without("torch", "torchvision")
    folder = tmp_path_factory.mktemp("peers") / "scenes"
    generate_scenes(folder, num_train=8, num_val=2, workers=1)
    return folder


@pytest.fixture(scope="module")
def checks(scenes):
    done = run("-c", CHECKS, scenes, json.dumps(list(REFUSED)))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_boxes_follow_the_masks_through_flips(checks):
    assert checks["loose"] == 0
    assert 0 < checks["flipped"] < checks["images"]


def test_the_annotations_themselves_score_one_and_nothing_scores_zero(checks):
    for metric in ("box_ap", "box_ap50", "mask_ap", "mask_ap50"):
        assert checks["perfect"][metric] == pytest.approx(1)
        assert checks["nothing"][metric] == 0


def test_bad_arguments_are_named(checks):
    for said, sentence in zip(checks["refused"], REFUSED.values()):
        assert sentence in said


@pytest.mark.slow
def test_trains_for_the_time_and_reports(scenes, tmp_path):
    file = tmp_path / "report.json"
    done = run("torchvision_scenes.py", scenes, "--minutes", 0.01, "--json", file)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == [file]
    report = json.loads(file.read_text("utf-8"))
    assert report["steps"] >= 1 and report["images"] == 8 * report["steps"]
    assert report["training_seconds"] >= 0.6
    assert list(report["per_class"]) == ["vehicle", "person", "animal"]
    model = MaskRCNN(load_config("scenes-small", ("model.class_names=[vehicle, person, animal]",)).model)
    assert report["parameters"] == sum(int(weight.shape.num_elements()) for weight in model.trainable_weights)
    assert f"{report['parameters']:,} parameters" in done.stdout
