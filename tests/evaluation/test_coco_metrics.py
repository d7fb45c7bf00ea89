"""Tests of keras_mrcnn.evaluation.coco_metrics."""

import contextlib
import copy
import io

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_mrcnn.evaluation import evaluate_detections
from keras_mrcnn.evaluation.coco_metrics import SUMMARY_NAMES
from keras_mrcnn.evaluation.curves import precision_recall_curves
from keras_mrcnn.evaluation.errors import analyse_errors

CATEGORIES = [{"id": 3, "name": "car"}, {"id": 7, "name": "dog"}, {"id": 90, "name": "unicorn"}]


def make_coco(annotations, images=(5, 6, 9)):
    """A COCO object over 200 x 200 pixel images; annotations are (image id, category id, xywh, crowd)."""
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image, "height": 200, "width": 200} for image in images],
        "categories": CATEGORIES,
        "annotations": [
            {
                "id": number, "image_id": image, "category_id": category, "bbox": list(box), "iscrowd": crowd,
                "area": box[2] * box[3], "segmentation": rectangle_rle(box) if crowd else [rectangle_polygon(box)],
            }
            for number, (image, category, box, crowd) in enumerate(annotations, start=1)
        ],
    }  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def rectangle_polygon(box):
    x, y, width, height = box
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def rectangle_rle(box):
    rle = coco_mask.merge(coco_mask.frPyObjects([rectangle_polygon(box)], 200, 200))
    return {"size": [200, 200], "counts": rle["counts"].decode()}


def make_result(image, category, box, score):
    return {
        "image_id": image, "category_id": category, "bbox": list(box), "score": score,
        "segmentation": rectangle_rle(box),
    }  # fmt: skip


def random_case(seed=0):
    """Annotations of all sizes with crowds, and results that are shaken copies of them and noise."""
    random = np.random.default_rng(seed)
    annotations, results = [], []
    for image in (5, 6, 9):
        for _ in range(8):
            corner, side = random.uniform(0, 80, 2), random.choice([15.0, 50.0, 110.0]) * random.uniform(0.8, 1.2, 2)
            box = np.concatenate([corner, side]).round(1).tolist()
            category = int(random.choice([3, 7]))
            annotations.append((image, category, box, int(random.random() < 0.2)))
            for _ in range(2):
                shaken = (np.array(box) + random.normal(0, 3, 4)).clip(1, 199).tolist()
                results.append(make_result(image, int(random.choice([category, 3, 7, 90])), shaken, random.random()))
    return annotations, results


def pycocotools_stats(coco, results, iou_type, image_ids=None):
    """The numbers of the usual pycocotools recipe."""
    results = copy.deepcopy(results)
    if iou_type == "segm":
        for result in results:
            del result["bbox"]
    coco = copy.deepcopy(coco)
    coco.dataset.setdefault("info", {})
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = COCOeval(coco, coco.loadRes(results), iou_type)
        if image_ids is not None:
            evaluator.params.imgIds = image_ids
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_no_results_score_zero(iou_type):
    coco = make_coco([(5, 3, (10, 10, 20, 20), 0), (6, 7, (10, 10, 50, 50), 0)])
    metrics = evaluate_detections(coco, [], iou_type)
    assert metrics["AP"] == metrics["AP50"] == metrics["AR100"] == metrics["AP_small"] == 0.0
    assert metrics["AP_large"] is None  # there is no large object
    assert metrics["per_class"] == {"car": 0.0, "dog": 0.0, "unicorn": None}


def test_nothing_to_find_is_none_and_not_zero():
    for results in ([], [make_result(5, 3, (10, 10, 20, 20), 0.5)]):
        metrics = evaluate_detections(make_coco([]), results, "bbox")
        assert {metrics[name] for name in SUMMARY_NAMES} == {None}
    crowd_only = evaluate_detections(make_coco([(5, 3, (10, 10, 20, 20), 1)]), [], "bbox")
    assert crowd_only["AP"] is None


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_perfect_results_score_one(iou_type):
    annotations, _ = random_case()
    objects = [item for item in annotations if not item[3]]
    results = [make_result(image, category, box, 0.9) for image, category, box, _ in objects]
    metrics = evaluate_detections(make_coco(annotations), results, iou_type)
    assert metrics["AP"] == pytest.approx(1.0)
    assert metrics["AR100"] == pytest.approx(1.0)
    assert metrics["per_class"] == {"car": pytest.approx(1.0), "dog": pytest.approx(1.0), "unicorn": None}


def test_more_than_100_objects_in_an_image_are_scored_by_as_many_detections():
    boxes = [(8 * column, 8 * row, 6, 6) for row in range(10) for column in range(12)]
    coco, results = make_coco([(5, 3, box, 0) for box in boxes]), [make_result(5, 3, box, 0.9) for box in boxes]
    cut, whole = evaluate_detections(coco, results[:100], "bbox"), evaluate_detections(coco, results, "bbox")
    assert cut["AP"] == cut["AP50"] == cut["per_class"]["car"] == pytest.approx(84 / 101)  # up to a recall of 100 / 120
    for score in (whole["AP"], whole["AP50"], whole["AP75"], whole["AP_small"], whole["per_class"]["car"]):
        assert score == pytest.approx(1)
    assert whole["AR100"] == cut["AR100"] == pytest.approx(100 / 120)
    assert whole["AP_large"] is None
    assert precision_recall_curves(coco, results, "bbox").precision50[0].mean() == whole["AP50"]
    assert analyse_errors(coco, results, "bbox")["AP50"] == whole["AP50"]


def test_ap_by_hand():
    # Two cars; the best guess is right, the next is wrong, the third right: precision is 1 up to recall 0.5
    # (51 of COCO's 101 recall points) and 2 / 3 beyond.
    coco = make_coco([(5, 3, (10, 10, 40, 40), 0), (5, 3, (100, 100, 40, 40), 0)])
    results = [
        make_result(5, 3, (10, 10, 40, 40), 0.9),
        make_result(5, 3, (150, 10, 40, 40), 0.8),
        make_result(5, 3, (100, 100, 40, 40), 0.7),
    ]
    metrics = evaluate_detections(coco, results, "bbox")
    assert metrics["AP"] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert (metrics["AR1"], metrics["AR10"], metrics["AR_medium"]) == (0.5, 1.0, 1.0)


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
@pytest.mark.parametrize("image_ids", [None, [6, 9]])
def test_numbers_are_exactly_those_of_pycocotools(iou_type, image_ids):
    annotations, results = random_case(1)
    coco = make_coco(annotations)
    reference = pycocotools_stats(coco, results, iou_type, image_ids)
    metrics = evaluate_detections(coco, results, iou_type, image_ids)
    expected = [None if value == -1 else value for value in reference.stats.tolist()]
    assert [metrics[name] for name in SUMMARY_NAMES] == expected
    assert 0.05 < metrics["AP"] < 0.95  # the case is neither hopeless nor trivial
    precision = reference.eval["precision"][:, :, :, 0, -1]
    assert metrics["per_class"]["car"] == precision[:, :, 0].mean()
    assert metrics["per_class"]["dog"] == precision[:, :, 1].mean()
    assert metrics["per_class"]["unicorn"] is None


def test_restricting_to_images_is_having_only_those():
    annotations, results = random_case(2)
    alone = make_coco([item for item in annotations if item[0] == 6])
    expected = evaluate_detections(alone, [result for result in results if result["image_id"] == 6], "bbox")
    assert evaluate_detections(make_coco(annotations), results, "bbox", image_ids=[6]) == expected


def test_restricting_to_categories_leaves_the_others_out():
    annotations, results = random_case(3)
    metrics = evaluate_detections(make_coco(annotations), results, "bbox", category_ids=[7])
    everything = evaluate_detections(make_coco(annotations), results, "bbox")
    assert metrics["per_class"] == {"dog": everything["per_class"]["dog"]}
    assert metrics["AP"] == pytest.approx(everything["per_class"]["dog"])


def test_inputs_are_left_as_they_were(capsys):
    annotations, results = random_case(4)
    coco = make_coco(annotations)
    before = copy.deepcopy((coco.dataset, results))
    evaluate_detections(coco, results, "segm")
    evaluate_detections(coco, results, "bbox")
    assert (coco.dataset, results) == before
    assert capsys.readouterr().out == ""


def test_files_without_area_and_crowd_flag_and_with_id_zero_are_scored():
    coco = make_coco([(5, 3, (10, 10, 40, 40), 0)])
    annotation = coco.dataset["annotations"][0]
    annotation["id"] = 0
    del annotation["area"], annotation["iscrowd"]
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    metrics = evaluate_detections(coco, [make_result(5, 3, (10, 10, 40, 40), 0.9)], "bbox")
    assert metrics["AP"] == metrics["AP_medium"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 77}, "Result 0 is for image id 77, which is not in the annotations"),
        ({"category_id": 4}, "Result 0 has category id 4, which is not in the annotations"),
        ({"segmentation": None}, "Result 0 has no 'segmentation', which scoring by 'segm' needs"),
    ],
)
def test_bad_results_are_named(change, message):
    result = {**make_result(5, 3, (1, 1, 9, 9), 0.5), **change}
    result = {key: value for key, value in result.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        evaluate_detections(make_coco([]), [result], "segm")


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="iou_type is 'boxes', expected 'bbox' or 'segm'"):
        evaluate_detections(make_coco([]), [], "boxes")
    with pytest.raises(ValueError, match="Image id 8 in image_ids is not in the annotations"):
        evaluate_detections(make_coco([]), [], "bbox", image_ids=[5, 8])
    with pytest.raises(ValueError, match="Category id 2 in category_ids is not in the annotations"):
        evaluate_detections(make_coco([]), [], "bbox", category_ids=[2])
