import pytest

from keras_mrcnn.data.records import (
    annotation_fault,
    box_faults,
    clipped_box,
    field_fault,
    image_fault,
    is_box,
    is_flag,
    is_id,
    is_name,
    is_side,
    shortened,
)

ANNOTATION = {"id": 1, "image_id": 2, "category_id": 3, "bbox": [0, 0, 1, 1]}


@pytest.mark.parametrize(
    ("box", "kinds"),
    [
        ([0, 0, 10, 8], []),
        ([-1, -1, 12, 10], []),  # a pixel beyond the border is rounding
        ([-1.1, 0, 5, 5], ["box outside"]),
        ([0, 0, 11.1, 5], ["box outside"]),
        ([0, 0, 5, 9.1], ["box outside"]),
        ([10, 0, 1, 5], ["box outside"]),  # within the tolerance, but no pixel of the image
        ([3, 3, 0, 2], ["box without area"]),
        ([3, 3, 2, -1], ["box without area"]),
        ([3.3, 1, 1e-8, 2], ["box without area"]),  # float32 cannot tell its sides apart
    ],
)
def test_boxes_in_an_image_of_8_by_10(box, kinds):
    assert [kind for kind, _ in box_faults(box, 8, 10)] == kinds


def test_field_faults():
    assert field_fault({"id": 3, "more": None}, {"id": is_id}) is None
    assert field_fault({}, {"id": is_id}) == "lacks the field 'id'"
    assert field_fault("text", {}) == "is not an object with fields"
    assert len(field_fault({"id": "x" * 1000}, {"id": is_id})) < 120


def test_kinds_of_values():
    assert [is_id(value) for value in (0, -5, True, 1.0, "1", None)] == [True, True, False, False, False, False]
    assert [is_side(value) for value in (1, 0, -1, 2.5)] == [True, False, False, False]
    assert [is_name(value) for value in ("a", "", 5)] == [True, False, False]
    assert [is_box(value) for value in ([0, 1.5, 2, 3], [0, 1, 2], "0123", [0, 1, 2, float("inf")])] == [
        True,
        False,
        False,
        False,
    ]
    assert [is_flag(value) for value in (0, 1, True, 2, "1", None)] == [True, True, True, False, False, False]


def test_numbers_that_no_box_id_or_image_can_have():
    assert not is_box([0, 0, 5, 10**400])
    assert not is_box([0, 0, 5, True])
    assert not is_id(2**63) and is_id(-(2**63))
    assert not is_side(2**40)


def test_boxes_are_clipped():
    assert clipped_box([-0.5, 2, 5, 100], 10, 20).tolist() == [0, 2, 4.5, 10]


def test_fields_that_may_be_left_out():
    assert annotation_fault(ANNOTATION) is None
    assert annotation_fault({**ANNOTATION, "area": 2.5, "iscrowd": 1}) is None
    assert annotation_fault({**ANNOTATION, "iscrowd": "no"}) == "has the bad value no in the field 'iscrowd'"
    assert annotation_fault({**ANNOTATION, "area": float("nan")}) == "has the bad value nan in the field 'area'"


def test_image_of_too_many_pixels():
    image = {"id": 1, "file_name": "a.png", "height": 2**15, "width": 2**15}
    assert image_fault(image) is None
    assert image_fault({**image, "width": 2**15 + 1}).startswith("has 32769 x 32768 pixels, which are more than")


def test_any_value_can_be_shown():
    nested = value = []
    for _ in range(100_000):
        value.append([])
        value = value[0]
    assert len(shortened(nested)) < 60
    assert shortened("x" * 1000) == "x" * 60
    assert shortened(10**10_000) in ("of type int", shortened(10**10_000)[:60])
    while nested:  # one by one: to free them all at once would be a recursion as deep
        nested = nested.pop()
