"""The whole model against torchvision's: the same weights find the same objects in real photographs.

torchvision runs in a program of its own, tests/torchvision_models.py, whose docstring says how its random weights come
to find distinct objects. Two settings from the environment:

    TORCH_PYTHON        the Python that has torch and torchvision; by default the one that runs the tests
    TORCHVISION_CASES   a folder that keeps what torchvision finds, which takes minutes, and the files that each stack
                        saves, so that the other stack can read them (run the tests on one stack, on the other, and
                        on the first again); by default a folder that goes away
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from torch_python import run_torch, skip_without

from keras_mrcnn.base.records import Detections
from keras_mrcnn.compat import KERAS_3
from keras_mrcnn.config import ModelConfig
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.predict import predict_files

PROGRAM = Path(__file__).with_name("torchvision_models.py")
STACK, OTHER_STACK = ("keras3", "keras2") if KERAS_3 else ("keras2", "keras3")
SAME_BOX, SAME_MASK, SAME_SCORE = 0.99, 0.98, 1e-3  # IoU above, IoU above, difference at most
LEAST_SHARE = 0.99
SMALL_SIZES = {"min_size": 256, "max_size": 400}


def against_torchvision(test):
    """Marks a test that runs torchvision."""
    return pytest.mark.torchvision(pytest.mark.slow(test))


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Folder of what torchvision and the two stacks make; the test is skipped where there is no torchvision."""
    skip_without("torch", "torchvision")
    folder = Path(os.environ.get("TORCHVISION_CASES") or tmp_path_factory.mktemp("torchvision"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(autouse=True)
def _free_models():
    yield
    keras.backend.clear_session()
    gc.collect()


def run_torchvision(command, case, images, out, *options):
    """Runs the program; what it writes is CASE.npz, and CASE.pth from `make`."""
    arguments = [command, case, "--images", images, "--out", out, *options]
    done = run_torch(PROGRAM, *arguments)
    assert done.returncode == 0, done.stderr


def made_by_torchvision(cases, case, coco_mini):
    """(weight file, detections) of a case, made unless the folder has them."""
    files = cases / f"{case}.pth", cases / f"{case}.npz"
    if not all(file.is_file() for file in files):
        for file in cases.glob(f"{case}-*.safetensors"):  # made of weights that are replaced now
            file.unlink()
        run_torchvision("make", case, coco_mini / "images" / "val", cases)
    return files[0], read_detections(files[1], coco_mini)


def read_detections(file, coco_mini):
    """A dict of image name to (boxes, scores, labels, pasted masks) from a file of the program."""
    found = {}
    with np.load(file) as values:
        for name in sorted({key.split("/")[0] for key in values.files}):
            with Image.open(coco_mini / "images" / "val" / name) as image:
                width = image.width
            masks = np.unpackbits(values[f"{name}/masks"], axis=-1, count=width).astype(bool)
            found[name] = (*(values[f"{name}/{field}"] for field in ("boxes", "scores", "labels")), masks)
    return found


def our_detections(model, names, coco_mini):
    """The same of ours, image by image, since a batch is padded to the size of its largest image."""
    paths = [coco_mini / "images" / "val" / name for name in names]
    return {path.name: fields_of(found) for path, _, found in predict_files(model, paths, batch_size=1)}


def fields_of(found: Detections):
    return found.boxes, found.scores, found.category_ids, found.paste_masks()


def box_iou(boxes, others):
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    areas, other_areas = (np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (boxes, others))
    common = np.prod(np.clip(high - low, 0, None), axis=2)
    return common / np.maximum(areas[:, None] + other_areas - common, 1e-9)


def mask_iou(mask, other):
    union = np.count_nonzero(mask | other)
    return 1.0 if union == 0 else np.count_nonzero(mask & other) / union


def count_matched(detections, others):
    """How many detections of an image have the same among the others: label, box, score and mask."""
    boxes, scores, labels, masks = detections
    other_boxes, other_scores, other_labels, other_masks = others
    close = (labels[:, None] == other_labels) & (np.abs(scores[:, None] - other_scores) <= SAME_SCORE)
    close &= box_iou(boxes, other_boxes) > SAME_BOX
    return sum(
        any(mask_iou(mask, other_masks[j]) > SAME_MASK for j in np.flatnonzero(row)) for mask, row in zip(masks, close)
    )


def share_matched(found, others):
    """Share of the detections of all images that have the same among the others."""
    assert found.keys() == others.keys()
    matched = sum(count_matched(found[name], others[name]) for name in found)
    return matched / sum(len(found[name][1]) for name in found)


def assert_same(found, expected):
    """Both ways, over all images; prints the two shares, which `pytest -s` shows."""
    theirs, ours = share_matched(expected, found), share_matched(found, expected)
    print(f"\n{len(found)} images: {theirs:.2%} of theirs are among ours, {ours:.2%} of ours among theirs")
    assert min(theirs, ours) >= LEAST_SHARE


def assert_distinct(expected, count, num_labels):
    """That there is something to compare: many detections, many labels, and sure ones."""
    scores, labels = (np.concatenate([found[i] for found in expected.values()]) for i in (1, 2))
    sure = np.count_nonzero(scores > 0.5)
    print(f"\n{len(scores)} detections of {len(set(labels))} labels, {sure} above 0.5, the best {scores.max():.3f}")
    assert len(scores) >= count
    assert len(set(labels)) >= num_labels
    assert sure >= 0.02 * len(scores)


def small_model(file):
    """Model of a weight file that sees small images."""
    large = MaskRCNN.from_preset(file)
    model = MaskRCNN(ModelConfig.model_validate({**large.config.model_dump(), **SMALL_SIZES}))
    model.load_pretrained(file)
    return model


@against_torchvision
@pytest.mark.parametrize("case", ["v1", "v2"])
def test_torchvision_file_gives_the_same_detections(case, cases, coco_mini):
    weights, expected = made_by_torchvision(cases, case, coco_mini)
    assert_distinct(expected, count=500, num_labels=20)
    model = MaskRCNN.from_preset(weights)
    model.save_pretrained(cases / f"{case}-{STACK}.safetensors")
    assert len(expected) == 50
    assert_same(our_detections(model, expected, coco_mini), expected)


@against_torchvision
@pytest.mark.parametrize("case", ["v1", "v2"])
def test_file_of_the_other_stack_gives_the_same_detections(case, cases, coco_mini):
    _, expected = made_by_torchvision(cases, case, coco_mini)
    file = cases / f"{case}-{OTHER_STACK}.safetensors"
    if not file.is_file():
        pytest.skip(f"no {file.name}: set TORCHVISION_CASES to a folder and run these tests on the other stack first")
    assert_same(our_detections(MaskRCNN.from_preset(file), expected, coco_mini), expected)


@against_torchvision
@pytest.mark.parametrize("case", ["resnet18", "resnet34", "resnet101"])
def test_other_depths_give_the_same_detections(case, cases, coco_mini):
    weights, expected = made_by_torchvision(cases, case, coco_mini)
    assert_distinct(expected, count=100, num_labels=3)
    model = small_model(weights)
    assert model.config.backbone.norm == "frozen_bn"
    assert_same(our_detections(model, expected, coco_mini), expected)


@against_torchvision
def test_torchvision_reads_our_file(cases, coco_mini, tmp_path):
    weights, before = made_by_torchvision(cases, "resnet18", coco_mini)
    model = small_model(weights)
    noise = np.random.default_rng(0)
    for variable in model.trainable_variables:  # as a little training would do
        value = np.array(variable)
        variable.assign(value * noise.uniform(0.98, 1.02, value.shape).astype(np.float32))
    model.save_pretrained(tmp_path / "ours.safetensors")
    images = coco_mini / "images" / "val"
    run_torchvision("detect", "resnet18", images, tmp_path, "--weights", tmp_path / "ours.safetensors")
    theirs = read_detections(tmp_path / "resnet18.npz", coco_mini)
    assert share_matched(theirs, before) < 0.5, "the weights that were read are those from before"
    assert_same(our_detections(model, before, coco_mini), theirs)


def test_what_counts_as_the_same():
    boxes = np.float32([[0, 0, 100, 100], [50, 50, 150, 150]])
    masks = np.zeros((2, 200, 200), bool)
    masks[0, :100, :100] = True
    found = boxes, np.float32([0.9, 0.5]), np.int64([3, 4]), masks
    empty = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), np.zeros((0, 200, 200), bool)
    assert count_matched(found, found) == 2
    assert count_matched(found, empty) == count_matched(empty, found) == 0
    changes = {0: boxes + [[0, 0, 0, 2], [0, 0, 0, 0]], 1: [0.902, 0.5], 2: [3, 5], 3: masks ^ masks[:, ::-1]}
    for field, value in changes.items():
        changed = tuple(np.asarray(value) if i == field else old for i, old in enumerate(found))
        assert count_matched(found, changed) == count_matched(changed, found) == 1
