"""Display matrices and what they make of a picture."""

from __future__ import annotations

import numpy as np
import pytest

from keras_mrcnn.video.orientation import AS_STORED, is_turned, upright

ONE = 1 << 16
IMAGE = np.array([[1, 2, 3], [4, 5, 6]])[..., None]  # two rows, three columns


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (AS_STORED, [[1, 2, 3], [4, 5, 6]]),
        ([[ONE, 0], [0, ONE]], [[1, 2, 3], [4, 5, 6]]),
        ([[-ONE, 0], [0, -ONE]], [[6, 5, 4], [3, 2, 1]]),  # half a turn
        ([[-ONE, 0], [0, ONE]], [[3, 2, 1], [6, 5, 4]]),  # mirrored left to right
        ([[ONE, 0], [0, -ONE]], [[4, 5, 6], [1, 2, 3]]),  # mirrored upside down
        ([[0, ONE], [-ONE, 0]], [[4, 1], [5, 2], [6, 3]]),  # clockwise: (x, y) -> (-y, x)
        ([[0, -ONE], [ONE, 0]], [[3, 6], [2, 5], [1, 4]]),  # anticlockwise: (x, y) -> (y, -x)
        ([[0, ONE], [ONE, 0]], [[1, 4], [2, 5], [3, 6]]),  # transposed
        ([[ONE, 9000], [-9000, ONE]], [[1, 2, 3], [4, 5, 6]]),  # eight degrees: left as it is
    ],
)
def test_upright_by_hand(matrix, expected):
    shown = upright(IMAGE, np.array(matrix))
    assert shown[..., 0].tolist() == expected and shown.flags.c_contiguous
    assert is_turned(np.array(matrix)) == (len(expected) == 3)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_four_turns_are_none(quarters):
    turn, image = np.array([[0, ONE], [-ONE, 0]]), IMAGE
    for _ in range(quarters):
        image = upright(image, turn)
    assert (image == np.rot90(IMAGE, -quarters)).all()  # np.rot90 turns anticlockwise
