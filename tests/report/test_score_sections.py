import numpy as np
import pytest
from report.made_runs import LOSSES, RPN_SCORES, make_dataset, make_evaluation, make_run, texts

from keras_mrcnn.evaluation.curves import precision_recall_curves
from keras_mrcnn.evaluation.errors import analyse_errors
from keras_mrcnn.report import read_run, score_sections

HALF = 51 / 101  # AP of a class of which one of two objects is found, without a mistake before it


@pytest.fixture(scope="module")
def evaluation():
    return make_evaluation(make_dataset())


@pytest.fixture(scope="module")
def curves(evaluation):
    return {"mask": precision_recall_curves(evaluation.dataset.coco, evaluation.results, "segm")}


def test_stage_table(tmp_path):
    run = read_run(make_run(tmp_path, metrics={"training": {"rpn": {"seconds": 12.5, "peak_memory_mb": 900}}}))
    rows = score_sections.stage_table(run).rows
    assert [row[:3] for row in rows] == [["RPN", 3, 12], ["Box head", 2, 12], ["Mask head", 1, 1]]
    assert rows[0][3:] == [2.0, 0.5, 12.5, 900]
    assert rows[2][5:] == [None, None]


def test_no_stages(tmp_path):
    assert score_sections.stage_table(read_run(make_run(tmp_path, losses={}))) is None


def test_loss_charts(tmp_path):
    rpn, box, mask = score_sections.loss_charts(read_run(make_run(tmp_path)).losses)
    assert rpn.legend == [("sum", 0), ("objectness", 1), ("rpn box", 2)]
    assert box.legend[0] == ("sum", 0) and len(box.paths) == 3
    assert len(mask.paths) == len(mask.dots) == 1  # one loss, of one epoch
    assert [text for _, text in mask.x_ticks] == ["1"]
    assert [text for _, text in rpn.x_ticks] == ["1", "2", "3"]
    highest = min(y for _, y, _, _ in rpn.dots)
    assert highest > rpn.y_ticks[-1][0] - 5 and max(LOSSES["rpn"]["loss"]) == 2.0


def test_rpn_table():
    rows = score_sections.rpn_table(RPN_SCORES).rows
    assert [row[:2] for row in rows][:2] == [["point-wise accuracy", 0.97], ["point-wise recall", 0.9]]
    assert rows[-1][1] is None
    assert set(score_sections.rpn_table(RPN_SCORES).notes) == {row[0] for row in rows}


def test_summary_table(evaluation):
    table = score_sections.summary_table(evaluation.scores)
    assert [column.title for column in table.columns] == ["measure", "box", "mask"]
    assert table.rows[0][0] == "AP" and len(table.rows) == 12
    np.testing.assert_allclose(table.rows[0][1:3], HALF, atol=1e-6)
    assert table.rows[5][1:3] == [None, None]  # no large objects


def test_class_ap_table(evaluation, curves):
    table = score_sections.class_ap_table(evaluation.scores, curves, {"kite": 2, "dog": 2})
    assert [column.title for column in table.columns] == [
        "class", "objects", "box AP", "mask AP", "mask AP50", "mask AP75",
    ]  # fmt: skip
    assert texts(table) == ["kite", "dog"]
    np.testing.assert_allclose([row[2:] for row in table.rows], HALF, atol=1e-6)


def test_class_ap_table_of_the_training_alone(evaluation):
    table = score_sections.class_ap_table({"box": evaluation.scores["box"]}, {}, {})
    assert [column.title for column in table.columns] == ["class", "box AP"]


def test_precision_recall_charts(curves):
    every, kite, dog = score_sections.precision_recall_charts(curves)
    assert (every.title, kite.title, dog.title) == ("All classes", "kite", "dog")
    assert kite.legend == [("mask, IoU 0.50", 0), ("mask, IoU 0.75", 2)]
    assert kite.paths[0][0].count("L") == 100


def test_error_table(evaluation):
    data = evaluation.dataset.coco, evaluation.results
    table = score_sections.error_table({stage: analyse_errors(*data, kind) for stage, kind in (("box", "bbox"),)})
    found = {row[0]: row[1:3] for row in table.rows}
    assert [row[0] for row in table.rows][:2] == ["wrong class", "wrong location"]
    assert set(table.notes) == set(found)
    assert found["wrong class"][0] == 1 and found["missed"][0] == 1 and found["duplicate"][0] == 0
    assert found["missed"][1] > 0 and found["all false negatives"][0] == 2
