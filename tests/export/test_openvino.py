"""OpenVINO finds in the exported ONNX file what ONNX Runtime finds."""

import numpy as np
import pytest
import tensorflow as tf
from base.test_image_size import size_in_float64
from export.models import assert_same, blank_image, noise_image

from keras_mrcnn.ops.images import resized_size

openvino = pytest.importorskip("openvino", reason="openvino is not installed: pip install openvino")
# By itself OpenVINO computes in bfloat16 where the processor can.
FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}


@pytest.fixture(scope="module")
def run(exported):
    compiled = openvino.Core().compile_model(str(exported.onnx_path), "CPU", FLOAT32)

    def run(images):
        found = compiled({"images": images})
        return {output.any_name: np.array(found[output]) for output in compiled.outputs}

    return run


# In single precision 97 and 98 come out a pixel larger or smaller than in double.
@pytest.mark.parametrize("size", [(97, 131), (98, 131), (131, 97), (60, 200), (300, 128), (2, 1), (1, 400)])
def test_sizes(exported, run, size):
    image = noise_image(*size)[None]
    assert_same(run(image), exported.run_onnx(image))


def test_batch_with_nothing_found_in_a_part(exported, run):
    images = np.stack([blank_image(90, 120), noise_image(90, 120), noise_image(90, 120, 1)])
    found = run(images)
    assert_same(found, exported.run_onnx(images))
    assert (found["valid"] > 0).tolist() == [False, True, True]


def test_nothing_found(run):
    found = run(blank_image(97, 131)[None])
    assert found["valid"].tolist() == [0]
    assert {name: value.shape for name, value in found.items()} == {
        "boxes": (1, 40, 4),
        "scores": (1, 40),
        "category_ids": (1, 40),
        "valid": (1,),
        "masks": (1, 40, 28, 28),
    }
    assert not any(value.any() for value in found.values())


def test_whole_numbers_give_the_size():
    """OpenVINO divides and compares whole numbers in single precision: the size is right for all of them yet."""
    tf2onnx = pytest.importorskip("tf2onnx")
    side = tf.TensorSpec([None], tf.int32)
    function = tf.function(lambda height, width: tf.transpose(resized_size(height, width, 800, 1333)))
    proto, _ = tf2onnx.convert.from_function(function, (side, side), opset=17)
    compiled = openvino.Core().compile_model(openvino.Core().read_model(proto.SerializeToString()), "CPU", FLOAT32)
    heights = np.arange(1, 2**15, dtype=np.int32)
    widths = np.random.default_rng(4).integers(1, 2**15, len(heights), dtype=np.int32)
    for others in (heights, widths):
        np.testing.assert_array_equal(compiled([heights, others])[0], size_in_float64(heights, others, 800, 1333))
