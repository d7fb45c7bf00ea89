import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as mask_api

from keras_mrcnn.data.segmentations import malformed_segmentation, segmentation_fault

TRIANGLE = [0, 0, 3, 0, 3, 3]


def test_good_segmentations():
    assert segmentation_fault([TRIANGLE], 4, 4) is None
    assert segmentation_fault([TRIANGLE, [0.5, 0, 3, 0.5, 2, 3]], 4, 4) is None
    assert segmentation_fault({"size": [2, 3], "counts": [1, 2, 3]}, 2, 3) is None
    assert segmentation_fault({"size": [2, 3], "counts": [0, 6]}, 2, 3) is None


@pytest.mark.parametrize(
    ("segmentation", "fault"),
    [
        (None, "there is no segmentation"),
        ("abc", "there is no segmentation"),
        ([], "the list of polygons is empty"),
        ([[]], "polygon 1 has 0 numbers"),
        ([TRIANGLE, [1, 2, 3, 4]], "polygon 2 has 4 numbers"),
        ([[0, 0, 3, 0, 3, 3, 1]], "polygon 1 has 7 numbers"),
        ([TRIANGLE[:5] + [float("nan")]], "polygon 1 has a coordinate that is not a finite number"),
        ([TRIANGLE[:5] + [float("inf")]], "polygon 1 has a coordinate that is not a finite number"),
        ([TRIANGLE[:5] + [1e10]], "polygon 1 has a coordinate far outside the image"),  # pycocotools would crash
        ([TRIANGLE[:5] + [10**400]], "polygon 1 has a coordinate far outside the image"),
        ([[float("nan")] * 5 + [10**400]], "polygon 1 has a coordinate that is not a finite number"),
        ([TRIANGLE[:5] + [True]], "polygon 1 is not a list of numbers"),
        ([TRIANGLE[:5] + ["3"]], "polygon 1 is not a list of numbers"),
        (TRIANGLE, "polygon 1 is not a list of numbers"),
        ([[1, 1, 1, 1, 1, 1]], "the polygons cover no pixel"),
        ({"counts": [1, 2, 3]}, "the run-length code has size None"),
        ({"size": [3, 2], "counts": [1, 2, 3]}, r"the run-length code has size \[3, 2\], the image \[2, 3\]"),
        ({"size": [2, 3]}, "the run-length code has no counts"),
        ({"size": [2, 3], "counts": [1.5]}, "the run-length code has no counts"),
        ({"size": [2, 3], "counts": [7, -1]}, "the run-length code has a negative count"),
        ({"size": [2, 3], "counts": [1, 2]}, "the run-length code covers 3 pixels, the image has 6"),
        ({"size": [2, 3], "counts": [6]}, "the run-length code marks no pixel"),
        ({"size": [2, 3], "counts": "\n\t"}, "the compressed run-length code is malformed"),
        ({"size": [2, 3], "counts": "P"}, "the compressed run-length code is malformed"),
        ({"size": [2, 3], "counts": "PPPPPPPPPPPP1"}, "the compressed run-length code is malformed"),
        ({"size": [2, 3], "counts": [10**400]}, "the run-length code covers"),
        ({"size": [2.0, 3.0], "counts": [1, 5]}, "the run-length code has size"),
        ({"size": [2, 3], "counts": ""}, "the run-length code covers 0 pixels"),
    ],
)
def test_faults(segmentation, fault):
    assert re.match(fault, segmentation_fault(segmentation, 2, 3))


def test_outline_that_goes_to_and_fro():
    assert malformed_segmentation([[3000, 0, -3000, 3] * 1000], 200, 300) is None
    fault = malformed_segmentation([[3000, 0, -3000, 3] * 2000], 200, 300)
    assert fault == "polygon 1 has an outline of more than 16777216 pixels"


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10**6), st.floats(0, 1))
def test_compressed_codes_of_pycocotools_are_understood(height, width, seed, share):
    mask = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)
    code = mask_api.encode(np.asfortranarray(mask))
    segmentation = {"size": [height, width], "counts": code["counts"].decode()}
    wanted = None if mask.any() else "the run-length code marks no pixel"
    assert segmentation_fault(segmentation, height, width) == wanted
