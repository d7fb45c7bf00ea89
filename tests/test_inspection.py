"""The record of all stages: everything in pixels of the original image, and the same as the model's own results."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from export.models import confident_model, noise_image

from keras_mrcnn.base.records import GroundTruth
from keras_mrcnn.inspection import inspect_stages
from keras_mrcnn.mask_rcnn.detector import Detector
from keras_mrcnn.visualize import stage_panels

SIZE = (97, 131)  # the model sees 128 x 172, padded to 128 x 192
RATIO = np.float32([131 / 172, 97 / 128] * 2)
BOXES = np.float32([[10, 12, 60, 70], [70, 30, 120, 90]])


def truth_of(boxes=BOXES, labels=(1, 3), names=("car", "dog"), masks=True):
    coverage = np.full((len(boxes), 8, 8), 255, np.uint8) if masks else None
    return GroundTruth(np.reshape(boxes, (-1, 4)), np.int32(labels), coverage, names, SIZE)


@pytest.fixture(scope="module")
def model():
    return confident_model()


@pytest.fixture(scope="module")
def image():
    return noise_image(*SIZE)


@pytest.fixture(scope="module")
def outputs(model, image):
    return inspect_stages(model, image, truth_of())


def iou(one, other):
    sides = np.minimum(one[:, None, 2:], other[None, :, 2:]) - np.maximum(one[:, None, :2], other[None, :, :2])
    both = np.maximum(sides, 0).prod(axis=-1)
    area, other_area = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (one, other))
    return both / np.maximum(area[:, None] + other_area - both, 1e-9)


def assert_inside(boxes):
    assert boxes.dtype == np.float32
    assert (boxes >= 0).all() and (boxes <= np.float32([131, 97, 131, 97]) + 1e-3).all()


def test_detections_are_those_of_the_detector(model, image, outputs):
    tf.config.run_functions_eagerly(True)  # tracing would take longer than all the rest here
    try:
        (expected,) = Detector(model)([image])
    finally:
        tf.config.run_functions_eagerly(False)
    found = outputs.detections
    assert len(found) == len(expected) > 5 and found.class_names == expected.class_names
    assert found.image_size == SIZE
    np.testing.assert_array_equal(found.category_ids, expected.category_ids)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.02)
    np.testing.assert_allclose(found.masks, expected.masks, atol=1.01 / 255)


def test_anchors_lie_on_the_grid_of_their_level(outputs):
    assert [level.name for level in outputs.levels] == ["P2", "P3", "P4", "P5", "P6"]
    for number, level in enumerate(outputs.levels[:4]):
        stride = 2 ** (number + 2)
        assert level.boxes.shape == (128 // stride, 192 // stride, 3, 4)
        np.testing.assert_allclose(level.stride, (stride * 97 / 128, stride * 131 / 172), rtol=1e-6)
        centres = (level.boxes[..., :2] + level.boxes[..., 2:]) / 2
        np.testing.assert_allclose(centres[1, 2, 0], (2 * level.stride[1], level.stride[0]), rtol=1e-4)
    np.testing.assert_allclose(outputs.levels[0].boxes[0, 0, 0], np.float32([-23, -11, 23, 11]) * RATIO, rtol=1e-5)


def test_anchor_labels_follow_their_iou(outputs):
    for level in outputs.levels:
        best = iou(level.boxes.reshape(-1, 4), BOXES).max(axis=1).reshape(level.labels.shape)
        assert (level.labels[best > 0.701] == 1).all()
        assert (level.labels[(best > 0.301) & (best < 0.699)] != 0).all()
        assert (level.labels[best < 0.05] == 0).all()
    assert sum((level.labels == 1).sum() for level in outputs.levels) >= 2


def test_candidates_are_the_best_anchors_and_proposals_are_left_of_them(outputs):
    assert_inside(outputs.candidates.boxes)
    assert_inside(outputs.proposals.boxes)
    assert len(outputs.candidates) > len(outputs.proposals) == 40
    highest = max(level.objectness.max() for level in outputs.levels)
    assert outputs.candidates.scores[0] == pytest.approx(highest, rel=1e-5)
    for found in (outputs.candidates, outputs.proposals):
        assert (np.diff(found.scores) <= 0).all() and found.scores.min() >= 0
    distance = np.abs(outputs.proposals.boxes[:, None] - outputs.candidates.boxes).max(axis=-1).min(axis=1)
    assert distance.max() < 1e-3


def test_rois_have_the_objects_that_they_overlap(outputs):
    rois, positives = outputs.rois, outputs.rois.num_positives
    assert_inside(rois.boxes)
    assert positives >= 2 and (rois.labels[:positives] > 0).all() and (rois.labels[positives:] == 0).all()
    np.testing.assert_allclose(rois.target_boxes[:positives], BOXES[rois.matched[:positives]], atol=1e-3)
    np.testing.assert_array_equal(rois.labels[:positives], np.int32([1, 3])[rois.matched[:positives]])
    overlap = iou(rois.boxes, BOXES)
    assert (overlap.max(axis=1)[:positives] > 0.499).all() and (overlap.max(axis=1)[positives:] < 0.501).all()
    # The objects themselves are among them.
    assert np.abs(rois.boxes[:, None] - BOXES).max(axis=-1).min(axis=0).max() < 1e-3


def test_final_boxes_are_among_those_of_the_classes(outputs):
    assert outputs.class_boxes.shape == (40, 3, 4) and outputs.class_scores.shape == (40, 3)
    assert_inside(outputs.class_boxes)
    label = outputs.class_names.index(outputs.detections.class_names[0])
    row = int(np.abs(outputs.class_boxes[:, label] - outputs.detections.boxes[0]).max(axis=-1).argmin())
    np.testing.assert_allclose(outputs.class_boxes[row, label], outputs.detections.boxes[0], atol=1e-3)
    assert outputs.class_scores[row, label] == pytest.approx(outputs.detections.scores[0], abs=1e-5)


def test_masks_belong_to_the_positive_rois(outputs):
    positives = outputs.rois.num_positives
    assert outputs.masks.targets.shape == outputs.masks.probabilities.shape == (positives, 28, 28)
    # Every object fills its box, so that the target of an RoI is where the box lies in it.
    x0, y0, x1, y1 = outputs.rois.boxes[:positives].T
    for number, (left, top, right, bottom) in enumerate(outputs.rois.target_boxes[:positives]):
        across = (np.minimum(x1, right) - np.maximum(x0, left))[number]
        down = (np.minimum(y1, bottom) - np.maximum(y0, top))[number]
        share = across * down / ((x1 - x0) * (y1 - y0))[number]
        assert outputs.masks.targets[number].mean() == pytest.approx(share, abs=1e-3)
    assert 0 <= outputs.masks.probabilities.min() < outputs.masks.probabilities.max() <= 1


def test_all_arrays_are_numpy(outputs):
    arrays = [outputs.class_boxes, outputs.class_scores, outputs.masks.targets, outputs.rois.matched]
    arrays.append(outputs.proposals.scores)
    arrays += [value for level in outputs.levels for value in (level.boxes, level.labels, level.objectness)]
    assert {type(value) for value in arrays} == {np.ndarray}
    said = "StageOutputs(97 x 131 pixels, ground truth 2 objects, 5 levels, 40 proposals, "
    assert repr(outputs) == f"{said}{len(outputs.detections)} detections)"
    assert stage_panels(outputs).axes


def test_without_ground_truth_there_are_no_targets(model, image, outputs):
    bare = inspect_stages(model, image)
    assert bare.ground_truth is None and bare.rois is None and bare.masks is None
    assert all(level.labels is None for level in bare.levels)
    np.testing.assert_array_equal(bare.detections.boxes, outputs.detections.boxes)
    unmasked = inspect_stages(model, image, truth_of(masks=False))
    assert unmasked.masks is None and len(unmasked.rois)


def test_image_without_objects_is_all_background(model, image):
    outputs = inspect_stages(model, image, truth_of(np.zeros((0, 4)), (), ()))
    assert all((level.labels == 0).all() for level in outputs.levels)
    assert outputs.rois.num_positives == 0 < len(outputs.rois)
    assert outputs.masks.targets.shape == (0, 28, 28)


def test_image_of_one_pixel(model):
    outputs = inspect_stages(model, np.zeros((1, 1, 3), np.uint8))
    assert outputs.image.shape == (1, 1, 3) and len(outputs.levels) == 5
    assert stage_panels(outputs).axes


def test_seed_chooses_the_rois(model, image):
    config = model.config.box_head.model_copy(update={"samples": 8})
    before = model.config
    try:
        model.config = before.model_copy(update={"box_head": config})
        first, again, other = (inspect_stages(model, image, truth_of(), seed=seed).rois.boxes for seed in (0, 0, 1))
    finally:
        model.config = before
    assert len(first) == 8
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_single_map_of_c4(image):
    outputs = inspect_stages(confident_model("c4"), image, truth_of())
    assert [level.name for level in outputs.levels] == ["C4"]
    assert outputs.levels[0].boxes.shape[:2] == outputs.levels[0].labels.shape[:2] == (8, 12)


@pytest.mark.parametrize(
    ("pixels", "truth", "said"),
    [
        (np.zeros((97, 131, 3), np.float32), None, r"image is float32 \[97, 131, 3\], expected a uint8"),
        (np.zeros((97, 131, 4), np.uint8), None, r"uint8 \[97, 131, 4\], expected a uint8 array \[H, W, 3\]"),
        (np.zeros((131, 97, 3), np.uint8), truth_of(), "is 131 x 97 pixels, but the ground truth belongs to one of 97"),
        (np.zeros((97, 131, 3), np.uint8), truth_of(labels=(1, 2)), "calls class 2 'dog', but the model knows car, pe"),
        (np.zeros((97, 131, 3), np.uint8), truth_of(labels=(1, 4)), r"read it with CocoDataset\(\.\.\., class_names"),
    ],
)
def test_what_does_not_fit_is_refused(model, pixels, truth, said):
    with pytest.raises(ValueError, match=said):
        inspect_stages(model, pixels, truth)
