"""Colours that stay with objects, by hand-computed overlaps."""

from __future__ import annotations

import numpy as np
from coco_cases import rectangle

from keras_mrcnn.base.records import Detections
from keras_mrcnn.video.tracks import ColourTracks, _mask_ious, _Object


def seen(*boxes, masks=None, categories=None, size=(100, 100)):
    count = len(boxes)
    categories = np.ones(count, np.int32) if categories is None else np.int32(categories)
    masks = None if masks is None else np.float32(masks)
    names = ["thing"] * count
    return Detections(np.float32(boxes).reshape(-1, 4), np.ones(count), categories, names, masks, size)


def left_half():
    return np.float32([[1, 1, 0, 0]] * 4)


def right_half():
    return 1 - left_half()


def test_masks_overlap_by_hand():
    box = np.zeros(4)
    old = [_Object(1, box, rectangle(xywh)) for xywh in [(0, 0, 4, 4), (0, 0, 0, 0)]]
    new = [_Object(1, box, rectangle(xywh)) for xywh in [(0, 0, 4, 4), (1, 2, 6, 2), (0, 4, 4, 4)]]
    np.testing.assert_allclose(_mask_ious(old, new), [[1, 6 / (16 + 12 - 6), 0], [0, 0, 0]])
    assert _mask_ious(old, [_Object(1, box, None)]).tolist() == [[0], [0]]
    assert _mask_ious([], new).shape == (0, 3)


def test_colours_follow_the_boxes_whatever_their_order():
    tracks = ColourTracks(7)
    assert tracks.update(seen([0, 0, 20, 20], [50, 50, 80, 80])).tolist() == [0, 1]
    assert tracks.update(seen([52, 50, 82, 80], [2, 1, 22, 21])).tolist() == [1, 0]
    # A third one comes, and lies first.
    assert tracks.update(seen([0, 60, 20, 90], [54, 50, 84, 80], [4, 2, 24, 22])).tolist() == [2, 1, 0]


def test_masks_decide_where_boxes_cannot():
    tracks, box = ColourTracks(7), [10, 10, 50, 50]
    assert tracks.update(seen(box, box, masks=[left_half(), right_half()])).tolist() == [0, 1]
    assert tracks.update(seen(box, box, masks=[right_half(), left_half()])).tolist() == [1, 0]


def test_boxes_decide_where_masks_do_not_overlap():
    tracks, box = ColourTracks(7), [10, 10, 50, 50]
    assert tracks.update(seen([0, 0, 5, 5], box, masks=[left_half(), left_half()])).tolist() == [0, 1]
    assert tracks.update(seen(box, masks=[right_half()])).tolist() == [1]


def test_small_overlap_is_another_object():
    tracks = ColourTracks(7)
    tracks.update(seen([0, 0, 10, 10]))
    # 6 of 10 columns are shared, IoU 6 / 14; then 4, IoU 4 / 16.
    assert tracks.update(seen([4, 0, 14, 10])).tolist() == [0]
    assert tracks.update(seen([10, 0, 20, 10])).tolist() == [1]


def test_same_class_is_preferred_and_another_is_possible():
    tracks = ColourTracks(7)
    tracks.update(seen([0, 0, 20, 20], [0, 0, 20, 18], categories=[1, 2]))
    assert tracks.update(seen([0, 0, 20, 20], [0, 0, 20, 18], categories=[2, 1])).tolist() == [1, 0]
    tracks = ColourTracks(7)
    tracks.update(seen([50, 50, 60, 60], [0, 0, 20, 20], categories=[1, 1]))
    assert tracks.update(seen([0, 0, 20, 20], categories=[2])).tolist() == [1]


def test_an_object_is_remembered_for_a_while():
    tracks = ColourTracks(7, memory=3)
    tracks.update(seen([0, 0, 20, 20], [50, 50, 80, 80]))
    for _ in range(2):
        assert tracks.update(seen([0, 0, 20, 20])).tolist() == [0]
    assert tracks.update(seen([50, 50, 80, 80])).tolist() == [1]
    for _ in range(3):
        tracks.update(seen())
    assert tracks.update(seen([50, 50, 80, 80])).tolist() == [0]


def test_colours_are_shared_evenly_when_they_run_out():
    boxes = [[20 * i, 0, 20 * i + 10, 10] for i in range(5)]
    assert ColourTracks(2).update(seen(*boxes)).tolist() == [0, 1, 0, 1, 0]


def test_a_colour_that_is_free_again_is_used():
    tracks = ColourTracks(3, memory=1)
    tracks.update(seen([0, 0, 20, 20], [50, 50, 80, 80]))
    assert tracks.update(seen([50, 50, 80, 80])).tolist() == [1]
    assert tracks.update(seen([0, 60, 20, 80], [50, 50, 80, 80])).tolist() == [0, 1]


def test_no_detections():
    tracks = ColourTracks(7)
    colours = tracks.update(Detections.empty((30, 40)))
    assert colours.shape == (0,) and colours.dtype == np.int64
    assert tracks.update(seen([0, 0, 20, 20])).tolist() == [0]


def test_large_frames_are_compared_small():
    tracks, size = ColourTracks(7), (1080, 1920)
    boxes = [[100, 100, 500, 700], [100, 100, 500, 700]]
    assert tracks.update(seen(*boxes, masks=[left_half(), right_half()], size=size)).tolist() == [0, 1]
    assert tracks.update(seen(*boxes, masks=[right_half(), left_half()], size=size)).tolist() == [1, 0]


def test_crossing_objects_keep_their_colours():
    tracks = ColourTracks(7)
    shape = np.float32(np.tri(8))
    for step in range(0, 60, 3):
        boxes = [[step, 10, step + 30, 40], [60 - step, 20, 90 - step, 50]]
        colours = tracks.update(seen(*boxes, masks=[shape, shape[::-1]], categories=[1, 2])).tolist()
        assert colours == [0, 1]
