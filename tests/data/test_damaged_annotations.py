"""Damaged annotation files: each is read, or refused in one sentence, whatever way it comes in."""

import copy
import json
from contextlib import suppress
from math import isfinite

import pytest
from child_programs import run_child
from conftest import tiny_content
from damaged_annotations import damaged

from keras_mrcnn.data.check import check_dataset, drop_bad
from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.evaluation.coco_metrics import evaluate_detections


def read_everything(source, folder):
    """Reads all ground truths, and what COCOeval asks of the annotations; returns whether that worked."""
    try:
        dataset = CocoDataset(source, folder)
    except ValueError as error:
        assert 20 < len(str(error)) < 500 and "\n" not in str(error)
        return False
    for image_id in dataset.image_ids:
        try:
            dataset.ground_truth(image_id, mask_size=4)
        except ValueError as error:
            assert "annotation" in str(error) and "\n" not in str(error)
    for annotation in dataset.coco.anns.values():
        assert isfinite(annotation["area"])
        if annotation.get("segmentation") and annotation["image_id"] in dataset.coco.imgs:
            dataset.coco.annToMask(annotation)
    with suppress(ValueError):
        assert evaluate_detections(dataset.coco, [], "segm")["AP"] in (0, None)
    return True


def check_and_drop(annotation_file, folder):
    """Checks a file, takes out what is bad, and reads the rest; returns whether the file was good."""
    problems = check_dataset(annotation_file, folder)
    assert all(len(str(problem).splitlines()) == 1 for problem in problems)
    try:
        kept, _ = drop_bad(annotation_file, folder, problems)
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert read_everything(kept, folder)
    try:
        drop_bad(annotation_file, folder, [])
    except ValueError:
        assert problems
    return not problems


@pytest.mark.parametrize("first", range(0, 400, 100))
def test_damaged_files_are_read_or_refused(tiny_coco, first):
    annotation_file, folder, _ = tiny_coco
    outcomes = set()
    for seed in range(first, first + 100):
        content = damaged(seed)
        before = copy.deepcopy(content)
        could_read = read_everything(content, folder)
        assert repr(content) == repr(before)
        annotation_file.write_text(json.dumps(content))
        assert read_everything(annotation_file, folder) == could_read
        is_good = check_and_drop(annotation_file, folder)
        assert could_read or not is_good, seed  # the check refuses whatever reading does
        outcomes.add((could_read, is_good))
    assert {(False, False), (True, True)} <= outcomes  # some damage matters, some does not


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "9" * 10_000, "\ud800", '{"images": [], '],
    ids=["nested too deep", "integer too long", "not UTF-8", "cut off"],
)
def test_files_that_json_cannot_read(tiny_coco, text):
    annotation_file, folder, _ = tiny_coco
    annotation_file.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(ValueError, match=r"^annotation file .*instances\.json is not "):
        CocoDataset(annotation_file, folder)
    assert [problem.kind for problem in check_dataset(annotation_file, folder)] == ["annotation file"]


def test_content_that_is_not_coco():
    with pytest.raises(ValueError, match="has no list 'images'"):
        CocoDataset({}, "images")


# What made pycocotools read beyond its memory: with these the process itself is at stake.
DEADLY = """
import json, sys
from keras_mrcnn.data.coco import CocoDataset

assert "tensorflow" not in sys.modules
for area in (True, False):
    for code in ("P" * 4000, "o" * 100_000, "0" * 64, [10**9] * 9, [-5, 2405], [2**31, 2**31, 2400]):
        content = json.loads(sys.argv[1])
        content["annotations"][4]["segmentation"] = {"size": [40, 60], "counts": code}
        if not area:
            del content["annotations"][4]["area"]
        try:
            CocoDataset(content, "images").ground_truth(8)
        except ValueError as error:
            print(error)
"""


def test_codes_that_would_end_the_process(tmp_path):
    program = tmp_path / "deadly.py"
    program.write_text(DEADLY)
    child = run_child(program, json.dumps(tiny_content()), timeout=600)
    assert child.returncode == 0, child.stderr
    refused = child.stdout.splitlines()
    assert len(refused) == 12
    assert all(line.startswith("the segmentation of annotation 5 of image image8.png cannot be") for line in refused)
