"""What goes into the network and what comes out of it, against torchvision: resize, normalise, pad, paste."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from golden_inputs import IMAGE_SIZES, PASTE_SIZE, TRANSFORM_MAX, TRANSFORM_MIN, golden, paste_case, picture
from resizing import resize_image

from keras_mrcnn.base.records import Detections
from keras_mrcnn.ops import images as image_ops


def test_sizes_after_the_resize():
    sizes = [image_ops.resized_size(height, width, 800, 1333).numpy().tolist() for height, width in IMAGE_SIZES]
    assert sizes == golden("transform")["full sizes"].tolist()


def test_resized_normalised_padded_batch():
    expected = golden("transform")
    images = [image_ops.normalise(picture(*size)) for size in ((37, 61), (90, 70))]
    resized = [resize_image(image, TRANSFORM_MIN, TRANSFORM_MAX) for image in images]
    assert [list(image.shape[:2]) for image in resized] == expected["sizes"].tolist()
    height, width = expected["shape"][1:3]
    assert (height, width) == tuple(max(-(-image.shape[axis] // 32) * 32 for image in resized) for axis in (0, 1))
    for image, wanted in zip(resized, expected["batch"]):
        padded = tf.image.pad_to_bounding_box(image, 0, 0, height, width)
        np.testing.assert_allclose(padded[::3, ::3], wanted, atol=2e-5)


def test_normalising_after_the_resize_is_the_same():
    image = picture(37, 61)
    before = resize_image(image_ops.normalise(image), TRANSFORM_MIN, TRANSFORM_MAX)
    after = image_ops.normalise(resize_image(image, TRANSFORM_MIN, TRANSFORM_MAX))
    np.testing.assert_allclose(before, after, atol=1e-4)


def test_pasted_masks():
    masks, boxes = paste_case()
    count = len(boxes)
    found = Detections(boxes, np.ones(count), np.ones(count, np.int32), ("x",) * count, masks, PASTE_SIZE)
    expected = golden("paste")["soft"]
    np.testing.assert_allclose(found.paste_masks(threshold=None), expected, atol=1e-5)
    clear = np.abs(expected - 0.5) > 1e-4
    np.testing.assert_array_equal(found.paste_masks()[clear], (expected > 0.5)[clear])
