import numpy as np
import pytest

from keras_mrcnn.base.records import OUTPUT_NAMES, Detections

NAMES = {7: "person", 90: "dog"}


def outputs(valid):
    """Outputs of one image with room for three detections."""
    return {
        "boxes": np.float32([[1, 2, 3, 4], [0, 0, 5, 6], [0, 0, 0, 0]]),
        "scores": np.float32([0.75, 0.5, 0]),
        "category_ids": np.int32([90, 7, 0]),
        "valid": np.int32(valid),
        "masks": np.stack([np.full([28, 28], value, np.uint8) for value in (51, 255, 0)]),
    }


def test_padding_is_left_out_and_bytes_become_probabilities():
    detections = Detections.from_outputs(outputs(2), NAMES, (10, 12))
    assert detections.boxes.tolist() == [[1, 2, 3, 4], [0, 0, 5, 6]]
    assert detections.scores.tolist() == [0.75, 0.5]
    assert detections.category_ids.tolist() == [90, 7]
    assert detections.class_names == ("dog", "person")
    assert detections.masks.dtype == np.float32
    assert detections.masks[:, 3, 5].tolist() == [np.float32(0.2), 1.0]
    assert detections.image_size == (10, 12)


def test_nothing_found():
    detections = Detections.from_outputs(outputs(0), NAMES, (10, 12))
    assert len(detections) == 0 and detections.masks.shape == (0, 28, 28)
    assert detections.paste_masks().shape == (0, 10, 12)


def test_category_without_a_name_is_told():
    with pytest.raises(ValueError, match=r"category_ids holds 0, but the model's categories are \[7, 90\]"):
        Detections.from_outputs(outputs(3), NAMES, (10, 12))


def test_names_of_the_outputs():
    assert set(OUTPUT_NAMES) == set(outputs(0))
