"""The three stages in one figure."""

import numpy as np
from visualize.made_outputs import CAR, has_colour, make_views, panels_of, with_nothing_found, words_of

from keras_mrcnn.visualize import PALETTE, stage_panels
from keras_mrcnn.visualize.palette import score_colours


def test_proposals_boxes_and_masks():
    figure = stage_panels(make_views())
    proposals, boxes, masks = panels_of(figure)
    y, x = 150, round(CAR[2] * 3.4) - 2
    assert tuple(proposals[y, x]) == score_colours([1], 0, 1)[0]
    assert has_colour(boxes, PALETTE[0])[y, x] and (boxes[y, x - 30] == 100).all()
    np.testing.assert_array_equal(masks[y, x - 30], np.round(60 + 0.4 * np.array(PALETTE[0])))
    assert len(np.unique(boxes[45:66, 70:100].reshape(-1, 3), axis=0)) > 4  # letters above the box
    assert (masks[30:60, 70:270] == 100).all()
    assert words_of(figure) == "RPN: 2 proposals; best in yellow Box head: 2 detections Mask head: their masks car dog"


def test_nothing_found():
    figure = stage_panels(with_nothing_found(make_views()))
    assert words_of(figure) == "RPN: 0 proposals; best in yellow Box head: 0 detections Mask head: their masks"
    for picture in panels_of(figure):
        np.testing.assert_array_equal(picture, 100)
