import pytest

from keras_mrcnn.data.records import box_faults, field_fault, is_box, is_id, is_name, is_side


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
