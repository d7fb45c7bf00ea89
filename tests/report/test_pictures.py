import copy

import pytest
from conftest import tiny_content
from report.made_runs import make_dataset, make_evaluation, result_of

from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.report import PictureScore, best_and_worst, score_pictures


def test_scores_of_pictures():
    evaluation = make_evaluation(make_dataset())
    assert score_pictures(evaluation.dataset, evaluation.results) == [
        PictureScore(3, 1.0, detected=2, missed=0, wrong=0),
        PictureScore(5, 0.0, detected=0, missed=1, wrong=1),
        PictureScore(8, 0.0, detected=0, missed=1, wrong=0),
    ]


def test_quality_counts_ious_and_half_of_the_mistakes():
    dataset = make_dataset()
    twice = [result_of(dataset, 1, 0.9), result_of(dataset, 1, 0.6)]
    (score, *_) = score_pictures(dataset, twice)
    # One of two objects found with IoU 1, and once more: 1 / (1 + 0.5 + 0.5).
    assert score == PictureScore(3, 0.5, detected=1, missed=1, wrong=1)


def test_the_mask_decides():
    dataset = make_dataset()
    content = copy.deepcopy(tiny_content())
    content["annotations"][0]["segmentation"] = [[10, 10, 30, 10, 30, 24, 10, 24]]  # 14 of 20 rows
    (score, *_) = score_pictures(dataset, [result_of(CocoDataset(content, "images"), 1)])
    assert score.detected == 1 and score.quality == pytest.approx(0.7 / 1.5)


def test_low_scores_and_crowds_do_not_count():
    dataset = make_dataset()
    low, in_crowd = result_of(dataset, 5, score=0.4), result_of(dataset, 4)
    scores = {score.image_id: score for score in score_pictures(dataset, [low, in_crowd])}
    assert (scores[8].detected, scores[8].missed) == (0, 1)
    assert (scores[5].missed, scores[5].wrong) == (1, 0)


def test_no_detections_and_no_objects():
    assert [score.missed for score in score_pictures(make_dataset(), [])] == [2, 1, 1]
    assert score_pictures(CocoDataset({**tiny_content(), "annotations": []}, "images"), []) == []


def test_best_and_worst():
    scores = [PictureScore(number, quality, number, 0, 0) for number, quality in enumerate([0.5, 0.9, 0.1, 0.9, 0.3])]
    best, worst = best_and_worst(scores, 2)
    assert [score.image_id for score in best] == [3, 1]  # the one in which more was found comes first
    assert [score.image_id for score in worst] == [2, 4]
    best, worst = best_and_worst(scores, 10)
    assert len(best) == 3 and len(worst) == 2 and not {*best} & {*worst}
    assert best_and_worst(scores, 0) == best_and_worst([], 4) == ([], [])
    assert best_and_worst(scores[:1], 4) == (scores[:1], [])
