"""The same detections from the Python model, the SavedModel and ONNX Runtime."""

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from export.models import COCO_IMAGES, assert_same, blank_image, noise_image
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_mrcnn.export.onnx import export_onnx


def assert_all_same(exported, images):
    expected = {name: value.numpy() for name, value in exported.detector.detect(images).items()}
    for run in (exported.run_saved_model, exported.run_onnx):
        assert_same(run(images), expected)
    return expected


@pytest.mark.parametrize("size", [(97, 131), (60, 200), (300, 128), (33, 32)])
def test_sizes(exported, size):
    expected = assert_all_same(exported, noise_image(*size)[None])
    assert expected["valid"].tolist() != [0]
    height, width = size
    assert (expected["boxes"] <= [width + 1e-3, height + 1e-3] * 2).all()


@pytest.mark.parametrize("size", [(150, 2), (2, 1), (1, 400)])
def test_thin_images(exported, size):
    assert_all_same(exported, noise_image(*size)[None])


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(st.integers(2, 700), st.integers(2, 700), st.integers(1, 3), st.integers(0, 99), st.booleans())
@example(1900, 2500, 1, 0, False)
def test_any_size_batch_and_picture(exported, height, width, batch, seed, blank):
    images = [noise_image(height, width, seed + number) for number in range(batch)]
    if blank:
        images[seed % batch] = blank_image(height, width)
    assert_all_same(exported, np.stack(images))


def test_float_images(exported, tmp_path):
    path = export_onnx(exported.detector.model, tmp_path / "float.onnx", input_dtype="float32")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    image = noise_image(97, 131)[None]
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(names, {"images": image.astype(np.float32)})))
    assert_same(found, {name: value.numpy() for name, value in exported.detector.detect(image).items()})
    halves = image.astype(np.float32) + 0.5
    expected = exported.detector.detect_float(tf.constant(halves))
    found = dict(zip(names, session.run(names, {"images": halves})))
    assert_same(found, {name: value.numpy() for name, value in expected.items()})


def test_batch(exported):
    expected = assert_all_same(exported, np.stack([noise_image(80, 120, seed) for seed in range(3)]))
    assert expected["scores"].max() > 0.3
    assert len(set(expected["category_ids"].ravel()) - {0}) >= 2


def test_nothing_found(exported):
    expected = assert_all_same(exported, blank_image(97, 131)[None])
    assert expected["valid"].tolist() == [0]
    assert not any(value.any() for value in expected.values())


def test_nothing_found_in_a_part_of_the_batch(exported):
    images = np.stack([blank_image(90, 120), noise_image(90, 120), blank_image(90, 120)])
    expected = assert_all_same(exported, images)
    assert (expected["valid"] > 0).tolist() == [False, True, False]


def test_one_pixel_of_any_colour_runs(exported):
    # Constant maps: all anchors of a shape tie, so only that there is an answer can be asked.
    found = exported.run_onnx(np.full([2, 1, 1, 3], 255, np.uint8))
    assert found["boxes"].shape == (2, 40, 4) and np.isfinite(found["boxes"]).all()


@pytest.mark.skipif(not COCO_IMAGES.is_dir(), reason="coco-mini is not there")
def test_photographs(exported):
    confident = 0
    for path in sorted(COCO_IMAGES.iterdir())[:6]:
        with Image.open(path) as image:
            expected = assert_all_same(exported, np.asarray(image.convert("RGB"))[None])
        confident += (expected["scores"] > 0.5).sum()
    assert confident >= 6
