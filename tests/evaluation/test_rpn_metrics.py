"""Tests of keras_mrcnn.evaluation.rpn_metrics."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_mrcnn.evaluation import RPNMetrics


def make_coco(annotations, images=(5, 6)):
    """A COCO object over 200 x 200 pixel images; annotations are (image id, category id, xywh, crowd)."""
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": image, "height": 200, "width": 200} for image in images],
        "categories": [{"id": 3, "name": "car"}, {"id": 7, "name": "dog"}],
        "annotations": [
            {
                "id": number, "image_id": image, "category_id": category, "bbox": list(box), "iscrowd": crowd,
                "area": box[2] * box[3],
            }
            for number, (image, category, box, crowd) in enumerate(annotations, start=1)
        ],
    }  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def add_proposals(metrics, image_id, boxes, scores=None):
    boxes = np.asarray(boxes, np.float32).reshape(1, -1, 4)
    scores = np.arange(boxes.shape[1], 0, -1)[None] if scores is None else np.asarray(scores)[None]
    metrics.update_proposals([image_id], boxes, scores, [boxes.shape[1]])


def test_nothing_collected_scores_none():
    result = RPNMetrics().result(make_coco([(5, 3, (10, 10, 20, 20), 0)]))
    assert result == dict.fromkeys(["accuracy", "positive_accuracy", "negative_accuracy", "AR100", "AR1000"])


def test_image_without_proposals_scores_zero_and_without_objects_none():
    metrics = RPNMetrics()
    metrics.update_proposals([5], np.zeros((1, 10, 4)), np.zeros((1, 10)), [0])
    assert metrics.result(make_coco([(5, 3, (10, 10, 20, 20), 0)]))["AR100"] == 0.0
    assert metrics.result(make_coco([(5, 3, (10, 10, 20, 20), 1)]))["AR100"] is None
    assert metrics.result(make_coco([]))["AR1000"] is None


def test_point_wise_accuracy_over_two_batches_of_different_size():
    metrics = RPNMetrics()
    metrics.update_anchors([[1, 1, 0, 0, -1]], [[3.0, -1.0, -2.0, 0.0, 9.0]])  # 1 of 2 and 2 of 2
    metrics.update_anchors([[1, 0], [0, -1]], [[0.1, 4.0], [-0.1, -9.0]])  # 1 of 1 and 1 of 2
    assert metrics.positive_accuracy == pytest.approx(2 / 3)
    assert metrics.negative_accuracy == pytest.approx(3 / 4)
    assert metrics.accuracy == pytest.approx(5 / 7)


def test_ignored_anchors_alone_score_none():
    metrics = RPNMetrics()
    metrics.update_anchors([[-1, -1]], [[5.0, -5.0]])
    assert metrics.accuracy is None


def test_average_recall_by_hand():
    # One object of two is covered, with IoU 37 * 40 / 40**2 = 0.925: that passes 9 of the 10 thresholds.
    coco = make_coco([(5, 3, (10, 10, 40, 40), 0), (5, 7, (100, 100, 40, 40), 0)])
    metrics = RPNMetrics()
    add_proposals(metrics, 5, [[10, 10, 50, 47], [0, 100, 30, 130]])
    result = metrics.result(coco)
    assert result["AR100"] == result["AR1000"] == pytest.approx(0.9 / 2)


def test_only_the_best_hundred_count_for_ar100():
    coco = make_coco([(5, 3, (10, 10, 40, 40), 0)])
    boxes = np.tile(np.float32([100, 100, 110, 110]), (150, 1))
    boxes[120] = [10, 10, 50, 50]
    metrics = RPNMetrics()
    add_proposals(metrics, 5, boxes)
    assert metrics.result(coco)["AR100"] == 0.0
    assert metrics.result(coco)["AR1000"] == 1.0
    scores = np.zeros(150)
    scores[120] = 1.0
    add_proposals(metrics, 5, boxes, scores)  # again: replaces what the image had
    assert metrics.result(coco)["AR100"] == 1.0


def test_padding_behind_the_valid_proposals_is_not_counted():
    coco = make_coco([(5, 3, (10, 10, 40, 40), 0)])
    metrics = RPNMetrics()
    metrics.update_proposals([5], [[[0, 0, 9, 9], [10, 10, 50, 50]]], [[0.1, 0.9]], [1])
    assert metrics.result(coco)["AR1000"] == 0.0


def test_crowds_and_other_images_are_not_objects():
    coco = make_coco([(5, 3, (10, 10, 40, 40), 0), (5, 3, (60, 60, 90, 90), 1), (6, 3, (10, 10, 40, 40), 0)])
    metrics = RPNMetrics()
    add_proposals(metrics, 5, [[60, 60, 150, 150], [70, 70, 90, 90], [10, 10, 50, 50]])
    assert metrics.result(coco)["AR100"] == 1.0


def test_categories_can_be_left_out():
    coco = make_coco([(5, 3, (10, 10, 40, 40), 0), (5, 7, (100, 100, 40, 40), 0)])
    metrics = RPNMetrics()
    add_proposals(metrics, 5, [[100, 100, 140, 140]])
    assert metrics.result(coco, category_ids=[7])["AR100"] == 1.0
    assert metrics.result(coco, category_ids=[3])["AR100"] == 0.0
    assert metrics.result(coco)["AR100"] == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_recall_is_exactly_that_of_cocoeval_without_leaving_proposals_out(seed):
    random = np.random.default_rng(seed)
    annotations, proposals, metrics, results = [], {}, RPNMetrics(), []
    for image in (5, 6):
        boxes = np.concatenate([random.uniform(0, 100, (12, 2)), random.uniform(10, 90, (12, 2))], axis=1)
        annotations += [(image, int(random.choice([3, 7])), box, int(random.random() < 0.2)) for box in boxes.tolist()]
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
        proposals[image] = (np.tile(corners, (20, 1)) + random.normal(0, 8, (240, 4))).astype(np.float32)
        proposals[image][:, 2:] = np.maximum(proposals[image][:, 2:], proposals[image][:, :2] + 1)
        scores = random.permutation(240)
        add_proposals(metrics, image, proposals[image], scores)
        xywh = proposals[image].astype(np.float64)
        xywh[:, 2:] -= xywh[:, :2]
        results += [
            {"image_id": image, "category_id": 3, "bbox": box, "score": float(score)}
            for box, score in zip(xywh.tolist(), scores)
        ]
    coco = make_coco(annotations)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluator.params.useCats = 0
        evaluator.params.maxDets = [100, 1000]
        evaluator.evaluate()
        evaluator.accumulate()
    recall = evaluator.eval["recall"]  # [IoU, class, area, detections]
    result = metrics.result(coco)
    assert result["AR100"] == recall[:, 0, 0, 0].mean()
    assert result["AR1000"] == recall[:, 0, 0, 1].mean()
    assert 0.1 < result["AR100"] < result["AR1000"] < 1.0


def test_bad_input_is_named():
    metrics = RPNMetrics()
    with pytest.raises(ValueError, match=r"labels have shape \[1, 2\] but logits \[1, 3\]"):
        metrics.update_anchors(np.zeros((1, 2)), np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"1 image ids need proposals \[1, R, 4\]"):
        metrics.update_proposals([5], np.zeros((2, 3, 4)), np.zeros((2, 3)), [3, 3])
    add_proposals(metrics, 99, [[0, 0, 5, 5]])
    with pytest.raises(ValueError, match="Image id 99 .* is not in the annotations"):
        metrics.result(make_coco([]))
