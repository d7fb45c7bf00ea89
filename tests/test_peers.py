"""The peer scripts that train torchvision: run as a user runs them, where torch and torchvision are installed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from golden_inputs import uniform
from torch_python import run_torch, skip_without

from keras_mrcnn.config import load_config
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.scenes.generator import generate_scenes
from keras_mrcnn.training.joint_stage import JointStage
from keras_mrcnn.weights.native import named_values, read_safetensors, write_safetensors

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
NETWORK = """
import sys
import torch
from safetensors.torch import load_file, save_file
from torchvision_photographs import make_photograph_model

tensors = load_file(sys.argv[1])
images = tensors.pop("images")
model = make_photograph_model(3).eval()
model.load_state_dict(tensors)
with torch.no_grad():
    maps = {f"map{level}": value.contiguous() for level, value in enumerate(model.backbone(images).values())}
trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
save_file({**maps, "trained": torch.tensor(trained)}, sys.argv[2])
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


def test_network_for_photographs_is_that_of_the_preset(tmp_path):
    """Also its strides, which a state dict does not show, and what is frozen."""
    skip_without("torch", "torchvision", "safetensors")
    settings = ("model.class_names=[vehicle, person, animal]", "model.backbone.weights=null")
    model = MaskRCNN(load_config("photographs", settings).model)
    images = uniform("images", (1, 64, 96, 3))
    write_safetensors(tmp_path / "in", {**named_values(model), "images": images.transpose(0, 3, 1, 2).copy()}, {})
    done = run("-c", NETWORK, tmp_path / "in", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    theirs, _ = read_safetensors(tmp_path / "out")
    for level, ours in enumerate(model.extract_features(tf.constant(images), training=False)):
        scale = np.abs(ours).max()
        np.testing.assert_allclose(ours.numpy().transpose(0, 3, 1, 2) / scale, theirs[f"map{level}"] / scale, atol=1e-4)
    JointStage(model).freeze()
    assert theirs["trained"] == sum(int(weight.shape.num_elements()) for weight in model.trainable_weights)


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
