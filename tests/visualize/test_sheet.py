"""Contact sheets."""

import numpy as np
import pytest
from visualize.made_outputs import grey_image

from keras_mrcnn.visualize import contact_sheet


def test_contact_sheet_sets_pictures_into_rows():
    pictures = [np.full((40, 60, 3), value, np.uint8) for value in (0, 50, 100)]
    sheet = contact_sheet(pictures, columns=2)
    assert sheet.shape == (2 * 40 + 3 * 4, 2 * 60 + 3 * 4, 3)
    assert [sheet[20, 30, 0], sheet[20, 100, 0], sheet[60, 30, 0], sheet[60, 100, 0]] == [0, 50, 100, 255]


def test_contact_sheet_shrinks_large_pictures_and_centres_small_ones():
    sheet = contact_sheet([np.zeros((1000, 2000), np.uint8), grey_image(10, 10)], columns=5, cell_size=(100, 100))
    assert sheet.shape == (100 + 8, 2 * 100 + 12, 3)
    black = (sheet == 0).all(axis=-1)
    assert black.sum() == 50 * 100
    assert (sheet[4 + 45 : 4 + 55, 108 + 45 : 108 + 55] == 100).all()


def test_contact_sheet_of_nothing_is_refused():
    with pytest.raises(ValueError, match="A contact sheet of 0 images in 3 columns"):
        contact_sheet([], columns=3)
