import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as mask_api

from keras_mrcnn.data.formats.shapes import (
    Shape,
    area_and_box,
    compressed,
    ellipse,
    join_groups,
    rectangle,
    run_length_codes,
    segmentation_of,
)

SQUARE = [1, 1, 3, 1, 3, 3, 1, 3]


def test_rectangle():
    assert rectangle(1, 2, 4, 3) == [1, 2, 4, 2, 4, 3, 1, 3]
    quarter = rectangle(
        0, 0, 4, 2, math.pi / 2
    )  # about (2, 1), clockwise: its upper left corner comes to the upper right
    assert np.allclose(quarter, [3, -1, 3, 3, 1, 3, 1, -1])


def test_ellipse_is_as_fine_as_its_size_needs():
    small, large = ellipse(5, 6, 1, 1), ellipse(0, 0, 1000, 200)
    assert (len(small), len(large)) == (2 * 16, 2 * 315)
    assert np.allclose(np.hypot(np.array(small[::2]) - 5, np.array(small[1::2]) - 6), 1)
    assert len(ellipse(0, 0, 1e9, 1)) == 2 * 720
    middles = (np.array(large).reshape(-1, 2) + np.roll(np.array(large).reshape(-1, 2), 1, axis=0)) / 2
    assert np.abs(np.hypot(middles[:, 0], middles[:, 1] * 5) - 1000).max() < 0.06


def test_turned_ellipse():
    upright, turned = ellipse(5, 5, 4, 2), ellipse(5, 5, 2, 4, math.pi / 2)
    assert np.allclose(sorted(upright[::2]), sorted(turned[::2]))
    assert max(ellipse(0, 0, 4, 0.1, math.pi / 4)[1::2]) == pytest.approx(4 / math.sqrt(2), abs=0.1)


def test_ellipse_without_area():
    assert area_and_box([ellipse(5, 5, 0, 0)], 10, 10)[0] == 0


def test_shapes_of_one_label_and_group_are_one_object():
    shapes = [
        Shape("cat", [[1]], "1", group=None),
        Shape("cat", [[2]], "2", group=0),
        Shape("dog", [[3]], "3", group=0),
        Shape("cat", [[4], [5]], "4", group=0),
        Shape("cat", [[6]], "5", group=None),
        Shape("cat", [[7]], "6", group=0, is_crowd=True),
    ]
    objects = join_groups(shapes)
    assert [(shape.label, shape.parts) for shape in objects] == [
        ("cat", [[1]]), ("cat", [[2], [4], [5]]), ("dog", [[3]]), ("cat", [[6]]), ("cat", [[7]]),
    ]  # fmt: skip
    assert shapes[1].parts == [[2]]
    assert join_groups([]) == []


def test_codes_of_numbers():
    values = np.array([[0, 2, 2], [5, 0, 2]])
    codes = run_length_codes(values, 2, 3)
    assert list(codes) == [2, 5]
    assert [mask_api.decode(code).tolist() for code in codes.values()] == [
        [[0, 1, 1], [0, 0, 1]],
        [[0, 0, 0], [1, 0, 0]],
    ]
    assert all(isinstance(code["counts"], str) and code["size"] == [2, 3] for code in codes.values())
    for code in codes.values():  # as pycocotools writes it
        assert mask_api.encode(np.asfortranarray(mask_api.decode(code)))["counts"].decode() == code["counts"]
    assert run_length_codes(np.zeros((2, 3), np.uint8), 2, 3) == {}
    assert run_length_codes(np.zeros((0, 0), bool), 2, 3) == {}


@given(st.integers(1, 9), st.integers(1, 9), st.integers(-9, 9), st.integers(-9, 9), st.data())
def test_codes_of_numbers_placed_anywhere(height, width, left, top, data):
    rows, columns = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    dtype = data.draw(st.sampled_from([bool, np.uint8, np.uint16, np.int32, np.int64]))
    values = np.array(data.draw(st.lists(st.integers(0, 3), min_size=rows * columns, max_size=rows * columns)), dtype)
    values = values.reshape(rows, columns)
    whole = np.zeros((40, 40), values.dtype)
    whole[top + 10 : top + 10 + rows, left + 10 : left + 10 + columns] = values
    whole = whole[10 : 10 + height, 10 : 10 + width]
    codes = run_length_codes(values, height, width, left, top)
    assert sorted(codes) == [number for number in np.unique(whole).tolist() if number]
    for number, code in codes.items():
        np.testing.assert_array_equal(mask_api.decode(code), whole == number)


def test_compressed_codes():
    code = {"size": [2, 3], "counts": [1, 2, 3]}
    assert compressed(code) == {"size": [2, 3], "counts": "123"}
    assert compressed(compressed(code)) == compressed(code)
    assert compressed({"size": [2, 3], "counts": b"123"}) == compressed(code)


def test_polygons_stay_polygons_and_masks_join():
    assert segmentation_of([SQUARE, SQUARE], 4, 6) == [SQUARE, SQUARE]
    code = run_length_codes(np.eye(4, 6, dtype=bool), 4, 6)[1]
    assert segmentation_of([code], 4, 6) is code
    both = segmentation_of([SQUARE, code], 4, 6)
    expected = np.eye(4, 6)
    expected[1:3, 1:3] = 1
    np.testing.assert_array_equal(mask_api.decode(both), expected)


def test_area_and_box():
    assert area_and_box([SQUARE], 4, 6) == (4.0, [1.0, 1.0, 2.0, 2.0])
    assert area_and_box([[-5, 1, 50, 1, 50, 3, -5, 3]], 4, 6) == (12.0, [0.0, 1.0, 6.0, 2.0])  # reaches outside
    assert area_and_box([[9, 1, 11, 1, 11, 3, 9, 3]], 4, 6)[0] == 0  # lies outside
    code = run_length_codes(np.eye(4, 6, k=1, dtype=bool), 4, 6)[1]
    assert area_and_box(code, 4, 6) == (4.0, [1.0, 0.0, 4.0, 4.0])
