"""Tests of keras_mrcnn.evaluation.error_tables."""

from coco_cases import make_coco, make_result, one_of_each

from keras_mrcnn.evaluation.error_tables import format_errors
from keras_mrcnn.evaluation.errors import analyse_errors


def test_table():
    annotations, results = one_of_each()
    box = analyse_errors(make_coco(annotations), [make_result(*result) for result in results.values()], "bbox")
    mask = analyse_errors(make_coco([]), [], "segm")
    assert format_errors({"box": box, "mask": mask}).splitlines() == [
        "mistakes at IoU 0.5                 box                mask",
        "                      number  AP50 cost   number  AP50 cost",
        "wrong class                1      0.258        0          -",
        "wrong location             1      0.100        0          -",
        "both wrong                 1      0.006        0          -",
        "duplicate                  1      0.006        0          -",
        "background                 1      0.006        0          -",
        "missed object              2      0.051        0          -",
        "all false positives        5      0.088        0          -",
        "all false negatives        4      0.482        0          -",
        "objects                    6                   0",
        "detections                 7                   0",
        "  right                    2                   0",
        "  ignored (crowds)         0                   0",
        "AP50                              0.164                   -",
    ]
    assert format_errors({}) == "(no error analysis)"
    assert len(format_errors({"mask": mask}).splitlines()[2]) == 39
