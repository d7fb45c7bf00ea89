import numpy as np
from report.made_runs import make_dataset, make_evaluation

from keras_mrcnn.evaluation.curves import ConfusionMatrix, confusion_matrix
from keras_mrcnn.report.confusions import MOST_CLASSES, confusion_heatmap, confusion_table


def made_matrix():
    evaluation = make_evaluation(make_dataset())
    return confusion_matrix(evaluation.dataset.coco, evaluation.results, "segm")


def test_view():
    view = confusion_heatmap(made_matrix())
    assert view.row_names == ["kite", "dog", "nothing there"] and view.column_names == ["kite", "dog", "not found"]
    assert [[cell.count for cell in row] for row in view.rows] == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert [cell.share for cell in view.rows[0]] == [0.5, 0.5, 0]
    assert [[cell.is_right for cell in row] for row in view.rows] == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_table():
    assert confusion_table(made_matrix()).rows == [["kite", "dog", 1, 0.5]]


def test_too_many_classes_for_a_matrix():
    size = MOST_CLASSES + 2
    counts = np.ones((size, size), int)
    counts[0, 3] = 9
    matrix = ConfusionMatrix((*(f"class {number}" for number in range(size - 1)), "background"), counts, 0.5)
    assert confusion_heatmap(matrix) is None
    table = confusion_table(matrix)
    assert len(table.rows) == 40 and table.rows[0] == ["class 0", "class 3", 9, 9 / (size + 8)]


def test_nothing_counted():
    matrix = ConfusionMatrix(("kite", "background"), np.zeros((2, 2), int), 0.5)
    assert confusion_table(matrix).rows == []
    assert [cell.share for cell in confusion_heatmap(matrix).rows[0]] == [0, 0]
