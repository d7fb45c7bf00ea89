from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from export.models import assert_same, blank_image, confident_model, noise_image
from resizing import resize_image

from keras_mrcnn.base.image_files import ImageError
from keras_mrcnn.mask_rcnn.detector import Detector
from keras_mrcnn.ops import images as image_ops


@pytest.fixture(scope="module")
def detector():
    return Detector(confident_model())


def test_agrees_with_the_model_run_by_hand(detector):
    image = noise_image(97, 131)
    resized = resize_image(image_ops.normalise(image), 128, 224)
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
        (np.zeros([4], np.uint8), r"\[4\]"),
        (np.zeros([0, 4, 3], np.uint8), r"\[0, 4, 3\]"),
        (np.zeros([4, 4, 4], np.uint8), r"\[4, 4, 4\]"),
    ],
)
def test_refuses_other_arrays(detector, image, said):
    with pytest.raises(ImageError, match=rf"pictures\[1\] is .*{said}"):
        detector([blank_image(8, 8), image])


@pytest.mark.parametrize("picture", [np.zeros([4, 5, 3], np.uint8), "photo.jpg", Path("photo.jpg"), b"bytes"])
def test_a_single_picture_is_refused(detector, picture):
    for predict in (detector, detector.model.predict):
        with pytest.raises(ImageError, match="put a single picture into a list"):
            predict(picture)


def test_pictures_of_one_size_go_together_and_change_nothing(detector):
    pictures = [noise_image(60, 80, seed) for seed in range(3)] + [noise_image(50, 40, 3), noise_image(60, 80, 4)]
    alone = detector(pictures)
    for one, other in zip(alone, detector.stream(iter(pictures), batch_size=2)):
        assert one.class_names == other.class_names and one.image_size == other.image_size
        np.testing.assert_allclose(one.boxes, other.boxes, atol=0.01)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
    with pytest.raises(ValueError, match="batch_size is 0"):
        list(detector.stream(pictures, batch_size=0))
