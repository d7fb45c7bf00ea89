import numpy as np
import pytest
import tensorflow as tf
from export.models import assert_same, blank_image, confident_model, noise_image

from keras_mrcnn.data import transforms
from keras_mrcnn.export.detector import Detector, to_detections


@pytest.fixture(scope="module")
def detector():
    return Detector(confident_model())


def test_agrees_with_the_model_run_by_hand(detector):
    image = noise_image(97, 131)
    resized = transforms.resize_image(transforms.normalise(image), 128, 224)
    assert resized.shape == (128, 172, 3)  # int(97 * 128 / 97), int(131 * 128 / 97)
    inputs = tf.pad(resized, [[0, 0], [0, 20], [0, 0]])[None]
    expected = detector.model({"images": inputs, "image_sizes": tf.constant([[128, 172]])})
    expected = {name: value.numpy() for name, value in expected.items()}
    labels, back = expected.pop("labels"), np.float32([131 / 172, 97 / 128, 131 / 172, 97 / 128])
    expected["boxes"] = expected["boxes"] * back
    expected["category_ids"] = np.int32([0, 3, 7, 90])[labels]
    expected["masks"] = np.round(expected["masks"] * 255).astype(np.uint8)

    found = {name: value.numpy() for name, value in detector.detect(image[None]).items()}
    assert found["masks"].dtype == np.uint8 and found["category_ids"].dtype == np.int32
    assert_same(found, expected)

    (record,) = detector([image])
    count = expected["valid"][0]
    assert len(record) == count > 5
    assert record.image_size == (97, 131)
    np.testing.assert_array_equal(record.boxes, found["boxes"][0, :count])
    names = {3: "car", 7: "person", 90: "dog"}
    assert record.class_names == tuple(names[number] for number in record.category_ids)


def test_images_of_any_sizes(detector):
    sizes = [(97, 131), (1, 1), (5, 300), (40, 40)]
    found = detector([blank_image(*size) for size in sizes])
    assert [record.image_size for record in found] == sizes
    assert [len(record) for record in found] == [0] * 4
    assert detector([]) == []


def test_sees_weights_that_change(detector):
    image = noise_image(60, 80)
    bias = detector.model.box_head.classes.bias
    before = np.asarray(bias.numpy())
    try:
        bias.assign([100.0, 0.0, 0.0, 0.0])
        assert len(detector([image])[0]) == 0
    finally:
        bias.assign(before)
    assert len(detector([image])[0]) > 0


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros([4, 4, 3], np.float32), "float32"),
        (np.zeros([4, 4], np.uint8), r"\[4, 4\]"),
        (np.zeros([0, 4, 3], np.uint8), r"\[0, 4, 3\]"),
        (np.zeros([4, 4, 4], np.uint8), r"\[4, 4, 4\]"),
    ],
)
def test_refuses_other_arrays(detector, image, said):
    with pytest.raises(ValueError, match=rf"images\[1\] is .*{said}"):
        detector([blank_image(8, 8), image])


def test_to_detections_leaves_padding_out():
    found = {
        "boxes": np.float32([[1, 2, 3, 4], [0, 0, 0, 0]]),
        "scores": np.float32([0.75, 0]),
        "category_ids": np.int32([7, 0]),
        "valid": np.int32(1),
        "masks": np.full([2, 28, 28], 51, np.uint8),
    }
    record = to_detections(found, {7: "person"}, (10, 12))
    assert record.boxes.tolist() == [[1, 2, 3, 4]] and record.class_names == ("person",)
    assert np.unique(record.masks).tolist() == [np.float32(0.2)]
