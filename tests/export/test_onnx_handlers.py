"""Each handler alone: a small TensorFlow function, and what ONNX Runtime makes of its conversion."""

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
import tf2onnx

from keras_mrcnn.export.onnx_handlers import HANDLERS, REWRITERS
from keras_mrcnn.layers.roi_align import RoIAlign
from keras_mrcnn.ops.nms import grouped_nms


def convert(function, *signature):
    """A function from arrays to arrays that runs the conversion of `function`, and the conversion's operators."""
    proto, _ = tf2onnx.convert.from_function(
        tf.function(function),
        signature,
        opset=17,
        custom_op_handlers=dict(HANDLERS),
        custom_rewriter=REWRITERS,
    )
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return lambda *arrays: session.run(None, dict(zip(names, arrays))), {node.op_type for node in proto.graph.node}


def nms_function(max_boxes, score_threshold=0.05):
    def run(boxes, scores):
        kept = grouped_nms(boxes, scores, iou_threshold=0.5, score_threshold=score_threshold, max_boxes=max_boxes)
        return tuple(kept)

    return run


def random_candidates(random, batch, count, own_boxes, groups):
    corner = random.uniform(0, 60, (batch, count, own_boxes, 2))
    boxes = np.concatenate([corner, corner + random.uniform(1, 40, corner.shape)], axis=-1).astype(np.float32)
    # All scores differ, for ties have no order that both must share.
    scores = random.permutation(batch * count * groups).reshape(batch, count, groups) / (batch * count * groups)
    return boxes, scores.astype(np.float32)


@pytest.fixture(scope="module", params=["shared", "own"])
def nms(request):
    """NMS of 3 groups with shared boxes or with each group's own, 8 boxes kept."""
    own = 3 if request.param == "own" else 1
    function = nms_function(8)
    run, operators = convert(
        function, tf.TensorSpec([None, None, own, 4], name="boxes"), tf.TensorSpec([None, None, 3], name="scores")
    )
    assert "NonMaxSuppression" in operators and "Loop" not in operators
    return function, run, own


@pytest.mark.parametrize(("batch", "count"), [(1, 1), (1, 50), (3, 40), (2, 2)])
def test_nms_is_that_of_tensorflow(nms, batch, count):
    function, run, own = nms
    random = np.random.default_rng(count)
    for _ in range(5):
        boxes, scores = random_candidates(random, batch, count, own, 3)
        expected = function(tf.constant(boxes), tf.constant(scores))
        for got, wanted in zip(run(boxes, scores), expected):
            np.testing.assert_array_equal(got, wanted.numpy())


def test_nms_by_hand(nms):
    _, run, own = nms
    boxes = np.float32([[[[0, 0, 10, 10]], [[0, 0, 10, 9]], [[20, 20, 30, 30]]]]).repeat(own, axis=2)
    scores = np.float32([[[0.9, 0.0, 0.2], [0.8, 0.7, 0.0], [0.05, 0.6, 0.0]]])
    kept_boxes, kept_scores, groups, valid = run(boxes, scores)
    # Of group 0 the second box falls to the first and the third is not above the threshold.
    assert valid.tolist() == [4]
    np.testing.assert_allclose(kept_scores[0], [0.9, 0.7, 0.6, 0.2, 0, 0, 0, 0], rtol=1e-6)
    assert groups[0].tolist() == [0, 1, 1, 2, 0, 0, 0, 0]
    assert kept_boxes[0, :4].tolist() == [[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [0, 0, 10, 10]]
    assert not kept_boxes[0, 4:].any()


def test_nms_that_keeps_nothing(nms):
    _, run, own = nms
    outputs = run(np.ones([2, 5, own, 4], np.float32), np.full([2, 5, 3], -1, np.float32))
    assert [output.shape for output in outputs] == [(2, 8, 4), (2, 8), (2, 8), (2,)]
    assert not any(output.any() for output in outputs)


def test_nms_takes_scores_below_zero():
    function = nms_function(4, score_threshold=-0.5)
    run, _ = convert(function, tf.TensorSpec([None, None, 1, 4], name="b"), tf.TensorSpec([None, None, 2], name="s"))
    boxes = np.float32([[[[0, 0, 1, 1]], [[5, 5, 6, 6]]]])
    scores = np.float32([[[-0.25, -1], [-1, 0.5]]])
    _, kept, groups, valid = run(boxes, scores)
    assert (kept.tolist(), groups.tolist(), valid.tolist()) == ([[0.5, -0.25, 0, 0]], [[1, 0, 0, 0]], [2])


@pytest.fixture(scope="module")
def align():
    layer = RoIAlign(3, (4, 8))
    run, operators = convert(
        lambda fine, coarse, rois: layer([fine, coarse], rois),
        tf.TensorSpec([None, None, None, 5], name="fine"),
        tf.TensorSpec([None, None, None, 5], name="coarse"),
        tf.TensorSpec([None, None, 4], name="rois"),
    )
    assert "RoiAlign" in operators
    assert not {"Loop", "AveragePool", "Resize"} & operators
    return layer, run


def align_both(align, rois):
    layer, run = align
    random = np.random.default_rng(0)
    fine = random.normal(size=(2, 16, 24, 5)).astype(np.float32)
    coarse = random.normal(size=(2, 8, 12, 5)).astype(np.float32)
    (got,) = run(fine, coarse, rois)
    return got, layer([fine, coarse], tf.constant(rois)).numpy()


def test_roi_align_is_that_of_the_layer(align):
    random = np.random.default_rng(1)
    corner = random.uniform(0, 50, (2, 40, 2))
    rois = np.concatenate([corner, corner + random.uniform(0, 40, corner.shape)], axis=-1).astype(np.float32)
    got, expected = align_both(align, np.minimum(rois, [96, 64, 96, 64]).astype(np.float32))
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_roi_align_at_the_border_and_outside(align):
    # Whole map, no area, the last pixel (its cell reaches beyond the map), left of the map, right of it, all negative.
    rois = [[0, 0, 96, 64], [5, 5, 5, 5], [95.1, 63.1, 96, 64], [-9, -9, 9, 9], [90, 60, 200, 90], [-50, -50, -40, -40]]
    got, expected = align_both(align, np.float32([rois, rois[::-1]]))
    np.testing.assert_allclose(got, expected, atol=2e-5)
    assert not got[0, -1].any()


def test_roi_align_with_a_level_that_no_roi_is_of(align):
    for side in (4, 90):
        got, expected = align_both(align, np.full([2, 1, 4], [1, 1, 1 + side, 1 + side], np.float32))
        np.testing.assert_allclose(got, expected, atol=2e-5)


def test_crop_and_resize_alone_is_left_to_tf2onnx():
    # Only the three operators together are RoIAlign; a crop of anything else must keep its own border rule.
    def crop(image, boxes):
        return tf.image.crop_and_resize(image, boxes, tf.zeros([tf.shape(boxes)[0]], tf.int32), [4, 4])

    _, operators = convert(crop, tf.TensorSpec([1, 8, 8, 1], name="image"), tf.TensorSpec([None, 4], name="boxes"))
    assert "RoiAlign" not in operators


def test_upsampling_is_that_of_tensorflow():
    def enlarge(fmap):
        return tf.image.resize(fmap, tf.shape(fmap)[1:3] * 2, method="nearest")

    run, operators = convert(enlarge, tf.TensorSpec([None, None, None, 3], name="fmap"))
    assert "Resize" in operators
    fmap = np.random.default_rng(0).normal(size=(2, 3, 5, 3)).astype(np.float32)
    np.testing.assert_array_equal(run(fmap)[0], enlarge(fmap).numpy())


@pytest.mark.parametrize("sizes", [((40, 30), (97, 131)), ((640, 427), (128, 85)), ((1, 1), (5, 3)), ((7, 9), (7, 9))])
def test_bilinear_resize_is_that_of_tensorflow(bilinear, sizes):
    old, new = sizes
    picture = np.random.default_rng(0).normal(size=(2, *old, 3)).astype(np.float32)
    expected = tf.image.resize(picture, new).numpy()
    np.testing.assert_allclose(bilinear(picture, np.int32(new))[0], expected, atol=1e-6)


@pytest.fixture(scope="module")
def bilinear():
    run, _ = convert(
        lambda picture, size: tf.image.resize(picture, size),
        tf.TensorSpec([None, None, None, 3], name="picture"),
        tf.TensorSpec([2], tf.int32, name="size"),
    )
    return run
